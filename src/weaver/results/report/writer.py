"""Writes the report: one HTML file that opens offline and loads nothing from a network.

The page contains its own script, style, chart library and data. A content security policy with the hash of each script
forbids every other script and every request, whatever a strategy's name or tag contains.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from weaver.core.errors import ConfigError
from weaver.core.files import write_whole
from weaver.results.analysis import RunAnalysis
from weaver.results.formats import period_text, symbols_text
from weaver.results.report import sections
from weaver.results.report.datasets import datasets

__all__ = ["render", "write_report"]


def write_report(analysis: RunAnalysis, path: Path) -> Path:
    """Write the page to `path`, whose folder is made if need be, and return its absolute path. An existing file is
    replaced whole or not at all; a device or a pipe is written to."""
    path = path.expanduser().resolve()
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the file to write, for example {path / 'report.html'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(analysis))
    return path


def render(analysis: RunAnalysis) -> str:
    """Return the page as text. Equal results give equal pages."""
    from plotly.offline import get_plotlyjs

    record = analysis.record
    page = files("weaver.results.report") / "page"
    library, script = _script(get_plotlyjs()), _script((page / "report.js").read_text(encoding="utf-8"))
    facts, blocks = datasets(analysis)
    symbols = symbols_text(record.symbols, 4)
    settings = (
        dict(record.settings) | {"seed": record.seed} | ({"calendar": record.calendar} if record.calendar else {})
    )
    source = "" if record.source is None else f"<pre><code>{escape(record.source)}</code></pre>"
    speed = f"{record.bars:,} bars" + (f" in {record.elapsed_s:,.2f} s" if record.elapsed_s > 0 else "")
    return Template((page / "report.html").read_text(encoding="utf-8")).substitute(
        policy=f"default-src 'none'; script-src '{_hash(library)}' '{_hash(script)}'; style-src 'unsafe-inline'; "
        "img-src data: blob:; connect-src data:; base-uri 'none'; form-action 'none'",
        style=(page / "report.css").read_text(encoding="utf-8"),
        title=escape(f"{record.strategy} on {symbols}"),
        strategy=escape(record.strategy),
        subject=escape(f"{symbols}, {record.timeframe}"),
        period=escape(f"{period_text(record)}, {speed}"),
        notices=sections.notices(analysis),
        tiles=sections.tiles(analysis),
        months=sections.monthly_returns(analysis),
        statistics=sections.statistics(analysis),
        params=sections.details(record.params),
        settings=sections.details(settings),
        data=sections.data_used(analysis),
        source=source or "<p class=muted>Not available.</p>",
        run_id=escape(record.run_id),
        facts=_data("facts", facts),
        blocks="\n".join(_data(f"block-{name}", block) for name, block in blocks.items()),
        library=library,
        script=script,
    )


def _data(name: str, value: object) -> str:
    return f'<script type="application/json" id="{name}">{_embedded(value)}</script>'


def _embedded(value: object) -> str:
    """JSON that cannot end the element around it: every `<` is escaped."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _script(text: str) -> str:
    if "</script" in text.lower():  # would end the element early; inside a string or a comment this means the same
        text = text.replace("</script", "<\\/script").replace("</SCRIPT", "<\\/SCRIPT")
    return text.replace("\r\n", "\n")  # browsers hash what they parsed, which has no carriage returns


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
