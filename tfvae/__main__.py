"""`python -m tfvae`."""

from tfvae.cli import main

if __name__ == "__main__":
    main(prog_name="python -m tfvae")
