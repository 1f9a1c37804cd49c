"""Real federations out of public sets: by writer, by wearer, by viewer, by community of a graph; and label skews of digits.

Nothing is shipped: `sartor.data.datasets` says where files are looked for. Inputs are scaled by fixed numbers, or by the mean and deviation of
all training examples together, which a deployment would fix beforehand from public data.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sartor.data import datasets, planetoid
from sartor.errors import CorruptFile, FileProblem, MissingExtra, UnknownId
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts import partition


def load(name: str, *, seed: int = 0, **options: Any) -> Federation:
    """A federation by name; raises `UnknownId` with what there is, `FileProblem` where the files are not here."""
    if name not in SETS:
        raise UnknownId("there is no such federation", id=name, fix=f"there are {', '.join(SETS)}")
    return SETS[name](seed=seed, **options)


def digits(*, clients: int = 20, alpha: float = 0.1, train: int = 40, test: int = 40, seed: int = 0) -> Federation:
    """scikit-learn's 1,797 8x8 digits, Dirichlet label skew."""
    x, y = digits_arrays()
    return partition.dirichlet(x, y, clients, alpha=alpha, train=train, test=test, seed=seed, name="digits")


def digits_arrays() -> tuple[np.ndarray, np.ndarray]:
    """float32 [1797, 64] from 0 to 1, and their classes."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise MissingExtra("scikit-learn", "cluster") from missing
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int64)


def mnist(*, clients: int = 20, alpha: float = 0.1, train: int = 200, test: int = 100, seed: int = 0) -> Federation:
    """The 10,000 test images of MNIST, [1, 28, 28], Dirichlet label skew."""
    x, y = mnist_arrays()
    return partition.dirichlet(x, y, clients, alpha=alpha, train=train, test=test, seed=seed, name="mnist-t10k")


def mnist_arrays() -> tuple[np.ndarray, np.ndarray]:
    """float32 [10000, 1, 28, 28] from 0 to 1, and their classes."""
    folder = datasets.find("mnist-t10k")
    x = _idx(folder / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return x, _idx(folder / "t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)


def omniglot(*, test: float = 0.3, seed: int = 0) -> Federation:
    """20 drawers, 136 drawings each, [1, 28, 28]; which of five alphabets? What is tested of a drawer, that drawer has never drawn in training."""
    try:
        from PIL import Image
    except ImportError as missing:
        raise MissingExtra("pillow", "draw") from missing
    file = datasets.find("omniglot-small1") / "images_background_small1.zip"
    x, y, people = [], [], []
    alphabets: dict[str, int] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in sorted(one for one in archive.namelist() if one.endswith(".png")):
                _, alphabet, _, drawing = entry.split("/")
                picture = Image.open(io.BytesIO(archive.read(entry))).convert("L").resize((28, 28), Image.Resampling.BOX)
                x.append(1 - np.asarray(picture, np.float32) / 255)
                y.append(alphabets.setdefault(alphabet, len(alphabets)))
                people.append(int(drawing.split("_")[1].removesuffix(".png")))
    except (OSError, ValueError, zipfile.BadZipFile) as cause:
        raise CorruptFile("this is not Omniglot's archive of pictures", fix="download it again", file=file) from cause
    return partition.by_person(np.stack(x)[:, None], np.array(y), np.array(people), test=test, shuffle=True, seed=seed, name="omniglot-small1")


def wisdm(*, test: float = 0.3, at_least: int = 40, seed: int = 0) -> Federation:
    """Wearers of a phone, 42 features of ten-second windows, six activities; judged on the last windows of each of a wearer's activities."""
    file = datasets.find("wisdm-ar") / "WISDM_ar_v1.1_transformed.arff"
    rows = [line.strip().split(",") for line in file.read_text("ascii").splitlines() if line[:1].isdigit()]
    if not rows or any(len(row) != 46 for row in rows):
        raise CorruptFile("a row has not 46 values", fix="download it again", file=file)
    names = sorted({row[-1] for row in rows})
    # XAVG, the 31st feature, is 0 in every row.
    raw = np.array([[np.nan if one == "?" else float(one) for one in row[2:32] + row[33:45]] for row in rows])
    y, people = np.array([names.index(row[-1]) for row in rows]), np.array([int(row[1]) for row in rows])
    place = partition.by_person(np.arange(len(y))[:, None], y, people, test=test, at_least=at_least, shuffle=False, each_class=True, seed=seed)
    fitting = np.concatenate([one.train.x[:, 0] for one in place]).astype(int)
    x = (raw - np.nanmean(raw[fitting], axis=0)) / np.maximum(np.nanstd(raw[fitting], axis=0), 1e-6)
    x = np.clip(np.nan_to_num(x), -10, 10).astype(np.float32)
    return partition.by_person(x, y, people, test=test, at_least=at_least, shuffle=False, each_class=True, seed=seed, name="wisdm-ar")


def movielens(*, people: int = 100, at_least: int = 60, test: float = 0.3, seed: int = 0) -> Federation:
    """Viewers, films by their genres and year; is a film rated 4 or better? Judged on each viewer's last ratings. Some viewers, drawn by the seed."""
    from sartor.data.loaders import read

    population = read(datasets.find("ml-100k"))
    events = population.events.select("person", "item", "value", "time").sort("person", "time", "item").collect()
    items = population.items.select("item", "year", "categories").collect()
    genres = sorted({one for row in items["categories"].to_list() for one in row or ()})
    facts = {
        item: [1.0 if genre in (kinds or ()) else 0.0 for genre in genres] + [((year or 1990) - 1990) / 10] for item, year, kinds in items.iter_rows()
    }
    who = events["person"].to_numpy()
    ids, counts = np.unique(who, return_counts=True)
    chosen = np.random.default_rng([seed, 9]).permutation(ids[counts >= at_least])[:people]
    rows = np.flatnonzero(np.isin(who, chosen))
    x = np.array([facts[item] for item in events["item"].gather(rows).to_list()], np.float32)
    y = (events["value"].to_numpy()[rows] >= 4).astype(np.int64)
    return partition.by_person(x, y, who[rows], test=test, shuffle=False, seed=seed, name="ml-100k")


def cora(*, clients: int = 5, train: float = 0.2, test: float = 0.4, seed: int = 0) -> Federation:
    """Owners of pieces of Cora's largest component, 1,433 words a node, seven classes. Pieces are Louvain communities, packed greedily into equal
    bins; edges between pieces are lost, as nobody may see both ends."""
    try:
        from sknetwork.clustering import Louvain
    except ImportError as missing:
        raise MissingExtra("scikit-network", "graph") from missing
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    x, edges, y = planetoid.read(datasets.find("cora"), "cora")
    table = coo_matrix((np.ones(edges.shape[1]), edges), (len(y), len(y))).tocsr()
    table = table + table.T
    _, component = connected_components(table)
    inside = np.flatnonzero(component == np.bincount(component).argmax())
    groups = Louvain(random_state=seed, shuffle_nodes=True).fit_predict(table[inside][:, inside])
    sizes = np.bincount(groups)
    full, bin_of = np.zeros(clients, np.int64), np.zeros(sizes.size, np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        bin_of[group] = full.argmin()
        full[bin_of[group]] += sizes[group]
    owner = np.full(len(y), -1)
    owner[inside] = bin_of[groups]
    return subgraphs(x, edges, y, owner, train=train, test=test, seed=seed, name=f"cora, {clients} owners")


def subgraphs(
    x: np.ndarray, edges: np.ndarray, y: np.ndarray, owner: np.ndarray, *, train: float, test: float, seed: int = 0, name: str = "subgraphs"
) -> Federation:
    """Every owner (from 0; -1 for nobody) has its nodes and the edges among them; some of its nodes have labels to learn from, others judge."""
    rng, out = np.random.default_rng([seed, 8]), []
    for number in range(int(owner.max()) + 1):
        nodes = np.flatnonzero(owner == number)
        new = np.full(len(y), -1)
        new[nodes] = np.arange(nodes.size)
        kept = new[edges[:, (owner[edges] == number).all(0)]]
        order = rng.permutation(nodes.size)
        first = round(train * nodes.size)
        last = max(first, nodes.size - round(test * nodes.size))
        whole = Examples(x[nodes], y[nodes], kept)
        out.append(Client(number, whole.take(order[:first]), whole.take(order[last:])))
    return Federation(out, int(y.max()) + 1, name)


def _idx(file: Path, head: int) -> np.ndarray:
    try:
        return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=head)
    except FileNotFoundError as cause:
        raise FileProblem("this file is missing", fix="download it again", file=file) from cause
    except (OSError, EOFError, ValueError) as cause:
        raise CorruptFile("this is not a whole file of MNIST's", fix="download it again", file=file) from cause


SETS: dict[str, Callable[..., Federation]] = {
    "digits": digits, "mnist-t10k": mnist, "omniglot-small1": omniglot, "wisdm-ar": wisdm, "ml-100k": movielens, "cora": cora,
}  # fmt: skip
"""By name; every function says what its clients are."""
