"""The two documents that are generated: docs/map.md from docstrings, experiments/README.md from the experiments.

`python tests/house/generated.py` writes them; the tests compare them with what it would write.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

MAP_HEAD = """# Map of the code

One sentence a module, taken from its docstring. Reading path: [CONTRIBUTING](../CONTRIBUTING.md).
Imports go one way: `cli → run → (world, load, report) → logic → model`; `errors` is importable by all.
"""

TABLE_HEAD = """# Experiments

One file a question. Play `control.yaml` first: whatever it reports about a healthy system, it would also report about
a broken one. Each of the others whose system is `demo` holds on the bundled system and is broken on its `--fragile`
twin, but for `database-under-load.yaml`, which speaks to the database alone and holds on both; a test proves it.
Those whose system is `demo-isolated` need `--isolated` as well, and root: one part then has a network of its own.
`full-disk.yaml` needs `--own-disk`: the demo keeps audit trails then, on a disk of 32 MiB in memory that only it has,
which takes root or a kernel that lets users mount in namespaces of their own; elsewhere the demo does not start.
Those whose system is `demo-cached` need `--cache`: replicas read through a Redis then, which takes a `redis-server` on
the PATH and `pip install 'chaosrunner[redis]'`. Those whose system is `demo-containers` hold and break likewise on the
demo in containers, which always has its cache, and so do many of the others there: docs/how-to/demo-in-containers.md.

```sh
chaosrunner demo experiments/lost-replica.yaml              # starts the bundled system and plays it
chaosrunner demo experiments/lost-replica.yaml --fragile    # the same on a system with everyday defects
```

| question | experiment | fault | system |
|---|---|---|---|
"""


def code_map() -> str:
    """The text of docs/map.md."""
    lines = [MAP_HEAD]
    modules = [*ROOT.glob("chaosrunner/**/*.py"), *ROOT.glob("fault_injectors/**/*.py")]
    packages: dict[Path, list[Path]] = {}
    for module in sorted(modules):
        packages.setdefault(module.parent, []).append(module)
    for package in sorted(packages):
        lines.append(f"\n## {package.relative_to(ROOT)}/\n")
        for module in packages[package]:
            said = (ast.get_docstring(ast.parse(module.read_text())) or "").split("\n\n")[0]
            lines.append(f"- `{module.relative_to(ROOT)}`: {' '.join(said.split())}")
    return "\n".join(lines) + "\n"


def _faults(found: object) -> Iterator[str]:
    """Names of faults in what stands under `faults`, those inside of composites included."""
    if isinstance(found, list):
        for entry in found:
            yield from _faults(entry)
    elif isinstance(found, dict):
        for key, inner in found.items():
            if "." in key or key == "noop":
                yield key
            else:
                yield from _faults(inner)


def experiments_table() -> str:
    """The text of experiments/README.md."""
    rows = []
    for path in sorted(ROOT.glob("experiments/*.yaml"), key=lambda p: (p.stem != "control", p.stem)):
        data = yaml.load(re.sub(r"\$\{[^}]*\}", "x", path.read_text()), Loader=yaml.BaseLoader)
        faults = ", ".join(f"`{name}`" for name in dict.fromkeys(_faults(data.get("faults", []))))
        rows.append(f"| {data['question']} | [{path.name}]({path.name}) | {faults} | {data['system']} |")
    return TABLE_HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    (ROOT / "docs/map.md").write_text(code_map())
    (ROOT / "experiments/README.md").write_text(experiments_table())
