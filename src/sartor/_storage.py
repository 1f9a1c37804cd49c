"""How fitted methods and states become files: JSON for settings, safetensors for arrays, never pickle; written whole or not at all."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import _fields
from sartor.errors import ConfigError, CorruptFile, FileProblem

if TYPE_CHECKING:
    from sartor.method import Method

CONFIG, TENSORS = "config.json", "tensors.safetensors"
_KEYS = ("class", "sartor", "fingerprint", "settings", "plain", "kinds")
"""Of config.json."""


def to_bytes(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    """Arrays and JSON facts as one safetensors blob."""
    from safetensors.numpy import save

    return save({k: np.asarray(v, order="C") for k, v in arrays.items()}, {"sartor": json.dumps(meta)})


def from_bytes(data: bytes, *, needs: tuple[str, ...] = ()) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The reverse of `to_bytes`; raises `CorruptFile`."""
    from safetensors.numpy import load

    try:
        arrays = load(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = json.loads(head["__metadata__"]["sartor"])
    except Exception as cause:
        raise CorruptFile(f"these {len(data)} bytes are not a whole safetensors file of sartor's", fix="fetch or write it again") from cause
    if missing := [name for name in needs if name not in meta]:
        raise CorruptFile(f"the facts {missing} are missing", fix="fetch or write it again")
    return arrays, meta


_NUMPY = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


def map_file(path: Path, *, needs: tuple[str, ...] = ()) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Like `from_bytes`, with arrays that stay in the file: processes share its pages (a write is private), and none is read before it is used."""
    try:
        raw = np.memmap(path, np.uint8, "c")
        start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
        head = json.loads(raw[8:start].tobytes())
        meta = json.loads(head.pop("__metadata__")["sartor"])
        arrays = {}
        for name, facts in head.items():
            first, last = facts["data_offsets"]
            flat = np.asarray(raw[start + first : start + last])
            kind = np.dtype(_NUMPY[facts["dtype"]])
            # Compiled loops are made for aligned arrays.
            flat = flat.copy() if flat.ctypes.data % kind.alignment else flat
            arrays[name] = flat.view(kind).reshape(facts["shape"])
    except (ValueError, KeyError, TypeError) as cause:
        raise CorruptFile("this is not a whole safetensors file of sartor's", fix="fetch or write it again", file=path) from cause
    if missing := [name for name in needs if name not in meta]:
        raise CorruptFile(f"the facts {missing} are missing", fix="fetch or write it again", file=path)
    return arrays, meta


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by new content, so that a reader or a crash sees the old or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def digest(root: Path) -> str:
    """32 hex digits over names and bytes of a file, or of all files below a folder, whatever that is called itself."""
    made = hashlib.blake2b(digest_size=16)
    for file in sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]:
        made.update(file.relative_to(root).as_posix().encode() + b"\0")
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                made.update(block)
    return made.hexdigest()


def _learned(method: Method) -> dict[str, Any]:
    return {k: v for k, v in sorted(vars(method).items()) if k.endswith("_") and not k.endswith("__") and k != "fingerprint_"}


def pack(method: Method) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Method]]:
    """A method's settings and plain learned values, its arrays, and the methods inside it."""
    from sartor.data.ids import IdMap
    from sartor.method import Method

    arrays: dict[str, np.ndarray] = {}
    inner: dict[str, Method] = {}
    kinds: dict[str, str] = {}
    plain: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for f in fields(method):
        if not f.init:
            continue
        value = getattr(method, f.name)
        if isinstance(value, Method):
            inner[f.name] = value
        else:
            settings[f.name] = value
    for name, value in _learned(method).items():
        if isinstance(value, Method):
            inner[name] = value
        elif isinstance(value, IdMap):
            kinds[name] = f"ids:{value.name}"
            arrays |= {f"{name}.{key}": array for key, array in value.to_arrays().items()}
        elif isinstance(value, dict) and value and all(isinstance(one, np.ndarray) for one in value.values()):
            kinds[name] = "arrays"
            arrays |= {f"{name}.{key}": array for key, array in value.items()}
        elif isinstance(value, np.ndarray):
            kinds[name] = "array"
            arrays[name] = value
        elif hasattr(value, "tocsr"):
            kinds[name] = "csr"
            csr = value.tocsr()
            arrays |= {f"{name}.data": csr.data, f"{name}.indices": csr.indices, f"{name}.indptr": csr.indptr}
            arrays[f"{name}.shape"] = np.asarray(csr.shape, np.int64)
        elif hasattr(value, "state_dict"):
            kinds[name] = "network"
            arrays |= {f"{name}.{key}": tensor.detach().cpu().numpy() for key, tensor in value.state_dict().items()}
        else:
            plain[name] = value
    return {"settings": settings, "plain": plain, "kinds": kinds}, arrays, inner


def fingerprint(method: Method) -> str:
    """32 hex digits that differ when any setting or learned value differs."""
    facts, arrays, inner = pack(method)
    digest = hashlib.blake2b(json.dumps([type(method).__qualname__, facts], sort_keys=True, default=str).encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    for name in sorted(inner):
        digest.update(f"{name}{inner[name].fingerprint_}".encode())
    return digest.hexdigest()


def save(method: Method, folder: Path) -> Path:
    """Write a fitted method; an existing folder is replaced only when it holds a sartor model."""
    from sartor import __version__

    return write_folder(folder, lambda fresh: _write(method, fresh, __version__))


def write_folder(folder: Path, write: Callable[[Path], None], *, marker: str = CONFIG) -> Path:
    """Fill a folder by `write`, all or nothing; an existing one is replaced only when it is empty or holds the file `marker`."""
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise FileProblem("this is a file", fix="give a folder", file=folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / marker).exists():
        raise FileProblem("this folder holds something other than a sartor model", fix="choose another folder", file=folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        write(fresh)
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            os.replace(folder, old / "model")
            try:
                os.replace(fresh, folder)
            except BaseException:
                os.replace(old / "model", folder)
                raise
            finally:
                shutil.rmtree(old)
        else:
            os.replace(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return folder


def _write(method: Method, folder: Path, version: str) -> None:
    facts, arrays, inner = pack(method)
    kind = type(method)
    if strange := sorted(_learned(method).keys() - {f.name for f in fields(kind)}):
        raise ConfigError(f"{kind.__name__} does not declare {strange}", fix="declare what it learns: `name_: type = learned()`")
    config = {"class": f"{kind.__module__}:{kind.__qualname__}", "sartor": version, "fingerprint": method.fingerprint_, **facts}
    try:
        text = json.dumps(config, indent=1)
    except TypeError as cause:
        raise ConfigError(f"a setting of {kind.__name__} cannot be written as JSON: {cause}", fix="use numbers, text and lists") from cause
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for name, data in ((TENSORS, to_bytes(arrays, {"fingerprint": method.fingerprint_})), (CONFIG, text.encode())):
        write_atomically(folder / name, data)
        # A model holds nobody's own data, and the account that serves it may be another than the one that fitted it.
        (folder / name).chmod(0o644)
    for name, part in inner.items():
        _write(part, folder / name, version)


def _class(path: str, file: Path) -> type[Method]:
    """The class a config names: only sartor's own or one the user has already imported, so that a file cannot run code."""
    import sys

    from sartor.method import Method

    module_name, _, name = path.partition(":")
    if module_name.startswith("sartor."):
        try:
            module: Any = importlib.import_module(module_name)
        except ImportError as cause:
            raise CorruptFile(f"'{path}' is not a method of this version of sartor", file=file) from cause
    else:
        module = sys.modules.get(module_name)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise CorruptFile(f"'{path}' is not a known method", fix="import the module that defines it first", file=file)
    return found


def load(folder: Path, *, mapped: bool = False) -> Method:
    """Read a method that `save` wrote; `mapped` leaves its arrays in the file (`map_file`), for processes that share a machine."""
    if not (folder / CONFIG).is_file():
        raise FileProblem("there is no saved model here", fix="give the folder that save() wrote", file=folder)
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        settings, plain, kinds = dict(config["settings"]), dict(config["plain"]), dict(config["kinds"])
        saved, path = str(config["fingerprint"]), str(config["class"])
        file = folder / TENSORS
        arrays, meta = map_file(file, needs=("fingerprint",)) if mapped else from_bytes(file.read_bytes(), needs=("fingerprint",))
    except (ValueError, KeyError, TypeError, OSError) as cause:
        raise CorruptFile("the saved model cannot be read", fix="save it again", file=folder) from cause
    if strange := sorted(config.keys() - {*_KEYS}):
        raise CorruptFile(f"there is no {strange} in a saved model", fix="save it again with this version", file=folder / CONFIG)
    if meta["fingerprint"] != saved:
        raise CorruptFile("config.json and tensors.safetensors belong to different models", fix="save it again", file=folder)
    kind = _class(path, folder / CONFIG)
    inner = {child.name: load(child, mapped=mapped) for child in sorted(folder.iterdir()) if child.is_dir() and (child / CONFIG).exists()}
    own = {f.name for f in fields(kind) if f.init}
    given: dict[str, Any] = {**settings, **{name: part for name, part in inner.items() if name in own}}
    learned = {**plain, **{name: part for name, part in inner.items() if name not in own}}
    known = {f.name for f in fields(kind) if not f.init}
    if strange := sorted({*learned, *kinds} - known):
        raise CorruptFile(f"{kind.__name__} learns no {strange}", fix="save it again with this version", file=folder / CONFIG)
    try:
        method = kind(**given)
        _fields.check(method)
    except (TypeError, ValueError) as cause:
        raise CorruptFile(f"the settings do not fit {kind.__name__}: {cause}", fix="save it again with this version", file=folder / CONFIG) from cause
    for name, value in learned.items():
        setattr(method, name, value)
    networks = []
    for name, what in kinds.items():
        if what == "network":
            networks.append(name)
        else:
            setattr(method, name, _unpack(name, what, arrays, folder))
    for name in networks:
        setattr(method, name, _load_network(method, name, arrays))
    method.fingerprint_ = saved
    return method


def _unpack(name: str, what: str, arrays: dict[str, np.ndarray], folder: Path) -> Any:
    from sartor.data.ids import IdMap

    try:
        if what == "array":
            return arrays[name]
        parts = {key[len(name) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{name}.")}
        if what == "arrays":
            return parts
        if what == "csr":
            from scipy.sparse import csr_matrix

            return csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=tuple(parts["shape"]))
        return IdMap.from_arrays(parts, name=what.partition(":")[2])
    except KeyError as cause:
        raise CorruptFile(f"'{name}' is missing", fix="save the model again", file=folder) from cause


def _load_network(method: Method, name: str, arrays: dict[str, np.ndarray]) -> Any:
    import torch

    network = method.make_network()
    network.load_state_dict({key[len(name) + 1 :]: torch.from_numpy(array.copy()) for key, array in arrays.items() if key.startswith(f"{name}.")})
    return network.eval()
