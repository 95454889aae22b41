"""Muon: momentum whose matrices are made orthogonal before they become a step."""

import tensorflow as tf
import tf_keras as tfk

from tfvae.support.pieces import piece
from tfvae.support.rules import Matrix, checked
from tfvae.train.adam import apply_adam

# x -> a x + b x^3 + c x^5 of the singular values, as Jordan et al. (2024) chose it: steep at 0, so that four iterations
# bring those from 0.01 to 1 between 0.6 and 1.3. They need not reach 1.
_A, _B, _C = 3.4445, -4.7750, 2.0315


@checked
class Muon(tfk.optimizers.Optimizer):
    """Steps of equal size in every direction of a weight matrix; Adam for other variables.

        m_t = mu m_t-1 + (1 - mu) g_t,   U S V^T = mu m_t + (1 - mu) g_t
        w_t = w_t-1 - rate 0.2 sqrt(max(rows, columns)) U V^T

    Jordan et al. (2024, "Muon: an optimizer for hidden layers in neural networks"); the factor, which gives a step the
    size of one of Adam's, is that of Liu et al. (2025, arXiv 2502.16982, eq. 4). U V^T is found by products of matrices
    alone (`orthogonal`). A gradient's few large singular values, which are all that plain momentum follows, count no
    more than its many small ones: fewer and larger batches suffice. The cost does not depend on the batch size.

    Published Muon takes five iterations and leaves the first and the last layer to Adam; here every matrix is stepped
    so, by four. Biases, other variables that are not matrices, and kernels under a constraint (as in masked networks,
    whose entries are not free) take Adam's step, with the same rate.

    >>> weights = tf.Variable(tf.zeros([2, 2]))
    >>> _ = tfvae.train.Muon(0.1).apply_gradients([(tf.linalg.diag([1.0, 0.1]), weights)])
    >>> bool(weights[1, 1] / weights[0, 0] > 0.4)  # although of the gradients one is a tenth of the other
    True

    Args:
        learning_rate: a number or a Keras schedule; best between 4e-3 and 1e-2 for the models of this package.
        momentum: mu, in [0, 1).
        num_iterations: of `orthogonal`, at least 1.
        beta_1, beta_2, epsilon: Adam's.

    Raises:
        ValueError: momentum or num_iterations outside these.
    """

    def __init__(
        self, learning_rate=4e-3, momentum=0.95, num_iterations=4, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **kwargs
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        super().__init__(**{"name": "Muon"} | kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum, self.num_iterations = momentum, num_iterations
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, var_list):
        super().build(var_list)
        if not hasattr(self, "_momentums"):
            make = self.add_variable_from_reference
            self._momentums = [make(v, "m") for v in var_list]
            self._velocities = [None if _is_free_matrix(v) else make(v, "v") for v in var_list]

    def update_step(self, gradient, variable):
        number = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[number], self._velocities[number]
        gradient = tf.convert_to_tensor(gradient)
        if v is not None:
            apply_adam(self, gradient, variable, m, v)
            return
        m.assign(self.momentum * m + (1 - self.momentum) * gradient)
        ahead = self.momentum * m + (1 - self.momentum) * gradient
        rate = tf.cast(self.learning_rate, variable.dtype) * 0.2 * max(variable.shape) ** 0.5
        variable.assign_sub(rate * orthogonal(ahead, self.num_iterations))

    def get_config(self):
        names = ("momentum", "num_iterations", "beta_1", "beta_2", "epsilon")
        rate = {"learning_rate": self._serialize_hyperparameter(self._learning_rate)}
        return super().get_config() | rate | {name: getattr(self, name) for name in names}


@checked
def orthogonal(matrix: Matrix, num_iterations=4):
    """U V^T of a matrix U S V^T [rows, columns], roughly: singular values from 0.01 |matrix| on end in [0.6, 1.3].

    Each iteration is x -> x (a + b x^T x + c (x^T x)^2), which acts on the singular values alone. The factors commute
    with x^T x, so that they are multiplied in the shorter dimension, and the matrix is read twice for any number of
    them.

    >>> matrix = np.diag([3.0, 1.0, 0.1])
    >>> np.linalg.svd(tfvae.train.orthogonal(matrix))[1].round()  # of 3, 1 and 0.1
    array([1., 1., 1.])
    """
    wide = matrix.shape[0] < matrix.shape[1]
    x = matrix / (tf.norm(matrix) + tf.constant(1e-12, matrix.dtype))
    gram = tf.matmul(x, x, transpose_a=not wide, transpose_b=wide)
    identity = tf.eye(gram.shape[0], dtype=x.dtype)
    factors = identity
    for i in range(num_iterations):
        factor = _A * identity + _B * gram + _C * tf.matmul(gram, gram)
        factors = tf.matmul(factors, factor) if i else factor
        gram = tf.matmul(tf.matmul(factor, factor), gram)
    return tf.matmul(factors, x) if wide else tf.matmul(x, factors)


def _is_free_matrix(variable):
    return variable.shape.rank == 2 and getattr(variable, "constraint", None) is None


@piece("optimizer", name="muon")
def large_batch_muon(learning_rate=4e-3):
    """Muon: steps of equal size in every direction of a weight matrix; for large batches."""
    return Muon(learning_rate)
