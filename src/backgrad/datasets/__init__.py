"""Data sets for examples, tests and the paper's experiments: NumPy arrays with labels 0..k−1, or real responses.

```python
data = load("spambase")                                                # 4601 mails, 54 binary features
rows = split_rows(data.n_samples, train=100, validation=100, seed=0, split=0)
x_train, y_train = data.x[rows.train], data.y[rows.train]
mine = load_table("houses.csv", target="price", task="regression")
```

Tables of one's own that are not clean yet are read by `read_table`, understood by `infer_schema` and made numbers by
`encode`.

Most files lie in the package with their checksums, come with scikit-learn, or are generated from a fixed seed.
Nothing is downloaded unless `load(name, download=True)` asks for it. `list_datasets()` says what there is, under which
licence, whom to cite, and where to get what does not come with the installation.
"""

from backgrad.datasets.dataset import Dataset
from backgrad.datasets.encoding import EncodedTable, encode
from backgrad.datasets.overrides import Overrides, parse_range, read_overrides
from backgrad.datasets.raw import RawTable
from backgrad.datasets.reading import read_table
from backgrad.datasets.registry import list_datasets, load, load_ransomware
from backgrad.datasets.schema import infer_schema
from backgrad.datasets.splits import SplitRows, split_rows
from backgrad.datasets.table import load_table
from backgrad.datasets.understood import Column, Schema, Target

__all__ = [
    "Column",
    "Dataset",
    "EncodedTable",
    "Overrides",
    "RawTable",
    "Schema",
    "SplitRows",
    "Target",
    "encode",
    "infer_schema",
    "list_datasets",
    "load",
    "load_ransomware",
    "load_table",
    "parse_range",
    "read_overrides",
    "read_table",
    "split_rows",
]
