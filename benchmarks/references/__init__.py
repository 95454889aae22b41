"""The formulas that spot_checks.py holds this package against, by other libraries; none imports tfvae."""
