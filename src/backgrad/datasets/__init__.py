"""Data sets for examples, tests and the paper's experiments: NumPy arrays with labels 0..k−1.

```python
data = load("spambase")                                                # 4601 mails, 54 binary features
rows = split_rows(data.n_samples, train=100, validation=100, seed=0, split=0)
x_train, y_train = data.x[rows.train], data.y[rows.train]
```

Nothing here is downloaded: the files lie in the package with their checksums, come with scikit-learn, or are
generated from a fixed seed. `list_datasets()` says what there is, under which licence, and whom to cite.
"""

from backgrad.datasets.dataset import Dataset
from backgrad.datasets.registry import list_datasets, load
from backgrad.datasets.splits import SplitRows, split_rows

__all__ = ["Dataset", "SplitRows", "list_datasets", "load", "split_rows"]
