"""Federations out of one labelled set: by Dirichlet label skew, label groups, relabelled groups, looks of each client, or real people.
A server's people are set apart, and labels taken away, where a method is to do with few.

Train and test parts of a client always follow the same skew: a client is judged on what it meets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sartor.errors import BadValue, ConfigError, EmptyData
from sartor.federate.federation import Client, Examples, Federation


def dirichlet(
    x: np.ndarray, y: np.ndarray, clients: int, *, alpha: float = 0.1, train: int, test: int, seed: int = 0, tries: int = 50, name: str = "dirichlet"
) -> Federation:
    """Every client draws its own mix of classes from a Dirichlet distribution, then its examples from that mix, without replacement over all.

    Parameters
    ----------
    x, y: the whole set, float [n, ...] and int [n].
    clients: how many.
    alpha: the smaller, the more lopsided; 0.1 leaves most clients one to three classes.
    train, test: examples of each client.
    tries: mixes that are drawn for one client before `EmptyData` says that the classes it wants have run out. (Splits that draw shares of
        classes and retry until every client has enough may never end with many clients; sizes are fixed here and retries are counted.)

    Source: Hsu, Qi and Brown, Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019.
    """
    if clients < 1 or not alpha > 0 or train < 1 or test < 1:
        raise ConfigError(f"{clients} clients, alpha {alpha}, {train} + {test} examples", fix="use positive numbers")
    need = train + test
    if clients * need > len(y):
        raise EmptyData(f"{clients} clients with {need} examples each need {clients * need}, there are {len(y)}", fix="use fewer of either")
    rng = np.random.default_rng([seed, 3])
    left = [rng.permutation(np.flatnonzero(y == label)) for label in range(int(y.max()) + 1)]
    out = []
    for number in range(clients):
        for _ in range(tries):
            mix = rng.dirichlet(np.full(len(left), alpha))
            wanted = rng.multinomial(need, mix)
            if all(count <= rows.size for count, rows in zip(wanted, left, strict=True)):
                break
        else:
            raise EmptyData(
                f"{tries} mixes drawn for client {number} all need more of a class than is left", fix="use fewer clients or a larger alpha"
            )
        rows = rng.permutation(np.concatenate([rows[:count] for count, rows in zip(wanted, left, strict=True)]))
        left = [rows_[count:] for count, rows_ in zip(wanted, left, strict=True)]
        out.append(_client(number, x, y, rows, train))
    return Federation(out, int(y.max()) + 1, name)


def label_groups(
    x: np.ndarray, y: np.ndarray, groups: Sequence[Sequence[int]], clients: int, *, train: int, test: int, seed: int = 0, name: str = "label groups"
) -> Federation:
    """Clients of one group see that group's classes alone: client i belongs to group i % groups; classes of a group are equally frequent.

    Groups may share classes, and clients of different groups may share examples only where the classes are too rare: never within a client.
    """
    if not groups or clients < len(groups):
        raise ConfigError(f"{clients} clients in {len(groups)} groups", fix="give at least as many clients as groups")
    rng = np.random.default_rng([seed, 4])
    out = []
    order = {label: rng.permutation(np.flatnonzero(y == label)) for group in groups for label in group}
    used = dict.fromkeys(order, 0)
    for number in range(clients):
        group = groups[number % len(groups)]
        labels = rng.permutation(np.resize(np.asarray(group), train + test))
        rows = []
        for label in labels.tolist():
            if used[label] >= order[label].size:
                raise EmptyData(f"class {label} has {order[label].size} examples, which client {number} has exhausted", fix="use fewer clients")
            rows.append(order[label][used[label]])
            used[label] += 1
        out.append(_client(number, x, y, np.asarray(rows), train))
    return Federation(out, int(y.max()) + 1, name)


def relabelled(federation: Federation, groups: int, *, classes: int, seed: int = 0) -> Federation:
    """Concept shift: in every group but the first, `classes` of the classes are permuted among themselves, so that one input means different things.

    Client i belongs to group i % groups.
    """
    if not 2 <= classes <= federation.classes or groups < 1:
        raise ConfigError(f"{classes} of {federation.classes} classes relabelled in {groups} groups", fix="relabel at least two")
    rng = np.random.default_rng([seed, 5])
    maps = [np.arange(federation.classes)]
    while len(maps) < groups:
        chosen = rng.choice(federation.classes, classes, replace=False)
        new = np.arange(federation.classes)
        # A cycle moves every one of them.
        new[chosen] = np.roll(chosen, 1)
        maps.append(new)

    def changed(part: Examples, mapping: np.ndarray) -> Examples:
        return Examples(part.x, np.where(part.y < 0, -1, mapping[part.y]), part.edges)

    clients = [
        Client(one.id, changed(one.train, maps[number % groups]), changed(one.test, maps[number % groups]))
        for number, one in enumerate(federation.clients)
    ]
    return Federation(clients, federation.classes, f"{federation.name}, relabelled")


def looks(federation: Federation, change: Sequence[Callable[[np.ndarray], np.ndarray]]) -> Federation:
    """Feature shift: client i sees its inputs through `change[i % len(change)]` (inverted, turned, ...), an array [n, ...] to one of one shape."""
    if not change:
        raise ConfigError("there is no look", fix="give at least one function")
    clients = []
    for number, one in enumerate(federation.clients):
        see = change[number % len(change)]
        clients.append(Client(one.id, *(Examples(np.asarray(see(part.x)), part.y, part.edges) for part in (one.train, one.test))))
    return Federation(clients, federation.classes, f"{federation.name}, looks")


def by_person(
    x: np.ndarray,
    y: np.ndarray,
    people: np.ndarray,
    *,
    test: float = 0.3,
    at_least: int = 2,
    shuffle: bool,
    each_class: bool = False,
    seed: int = 0,
    name: str = "by person",
) -> Federation:
    """Every real person is a client.

    Parameters
    ----------
    people: [n], whose each example is.
    test: share of each person's examples that judges.
    at_least: people with fewer examples are left out.
    shuffle: False judges by each person's last ones, in the order given, as recordings that overlap in time need; True draws at random.
    each_class: take the share of each of a person's classes, so that a recording made class by class is judged on all of them.
    """
    if not (len(x) == len(y) == len(people)):
        raise BadValue(f"{len(x)} inputs, {len(y)} labels, {len(people)} people", fix="give one of each")
    if not 0 < test < 1:
        raise ConfigError(f"test is {test}", fix="use a share between 0 and 1")
    rng = np.random.default_rng([seed, 6])
    out = []
    for person in np.unique(people):
        rows = np.flatnonzero(people == person)
        if rows.size < max(2, at_least):
            continue
        rows = rng.permutation(rows) if shuffle else rows
        groups = [rows[y[rows] == label] for label in np.unique(y[rows])] if each_class else [rows]
        cuts = [group.size - max(0 if each_class else 1, round(test * group.size)) for group in groups]
        before, after = (np.concatenate([g[:c] if side == 0 else g[c:] for g, c in zip(groups, cuts, strict=True)]) for side in (0, 1))
        out.append(_client(person.item(), x, y, np.concatenate([before, after]), before.size))
    if not out:
        raise EmptyData(f"nobody has {at_least} examples", fix="use a smaller at_least")
    return Federation(out, int(y.max()) + 1, name)


def apart(federation: Federation, people: int, *, seed: int = 0) -> tuple[list[Client], Federation]:
    """Some clients, drawn among those whose training part has every class, become the server's; the others stay a federation.

    All examples of the server's people are training examples, and their test parts are empty: nobody is judged by them.
    """
    if federation.graphs:
        raise ConfigError("the server's people have graphs", fix="use a set whose examples stand alone")
    able = [one.id for one in federation if len(set(one.train.y[one.train.y >= 0].tolist())) == federation.classes]
    if not 1 <= people <= min(len(able), len(federation) - 1):
        raise ConfigError(
            f"{people} of {len(federation)} clients for the server, and {len(able)} have labels of all {federation.classes} classes",
            fix="use at least 1, and fewer than there are",
        )
    chosen = {able[row] for row in np.random.default_rng([seed, 61]).permutation(len(able))[:people].tolist()}
    server = [
        Client(one.id, Examples(np.concatenate([one.train.x, one.test.x]), np.concatenate([one.train.y, one.test.y])), one.test.take(np.arange(0)))
        for one in federation
        if one.id in chosen
    ]
    return server, Federation([one for one in federation if one.id not in chosen], federation.classes, federation.name)


def few_labels(federation: Federation, each: int, *, seed: int = 0) -> Federation:
    """So many labels of each class per client, drawn by the seed; the other training examples stay, without a label."""
    if each < 1:
        raise ConfigError(f"{each} labels of each class", fix="use at least 1")
    out = []
    for number, one in enumerate(federation):
        rng = np.random.default_rng([seed, 62, number])
        kept = np.full(len(one.train), -1)
        for label in np.unique(one.train.y[one.train.y >= 0]):
            kept[rng.permutation(np.flatnonzero(one.train.y == label))[:each]] = label
        out.append(Client(one.id, Examples(one.train.x, kept, one.train.edges), one.test))
    return Federation(out, federation.classes, federation.name)


def _client(id: object, x: np.ndarray, y: np.ndarray, rows: np.ndarray, train: int) -> Client:
    return Client(id, Examples(x[rows[:train]], y[rows[:train]]), Examples(x[rows[train:]], y[rows[train:]]))
