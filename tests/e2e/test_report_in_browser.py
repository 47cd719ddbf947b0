"""The report works in a real browser: it draws, it zooms to exact bars, it asks no network, and hostile text stays text.

Chromium is driven through its debugging pipe; without a Chromium the tests are skipped with that reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import builders
from weaver.core.bars import BarSeries
from weaver.core.orders import Fill, Side
from weaver.results import PlotSeries, Result, RunRecord

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1300,1700",
    "--remote-debugging-pipe",
]
HOSTILE = (
    '</script><script>document.body.dataset.owned="1"</script><img src=x onerror=\'document.body.dataset.owned="1"\'>'
)
# The browser reads its commands from descriptor 3 and answers on 4; copies first, since the pipes may be 3 or 4 already.
PLACE_PIPES = """
import os, sys
commands, answers = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))
os.dup2(commands, 13), os.dup2(answers, 14), os.dup2(13, 3), os.dup2(14, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
MINUTE = 60 * 10**9
READY = """new Promise(done => {
  const look = () => document.body && document.body.dataset.ready && (done(document.body.dataset.ready), true);
  if (!look()) new MutationObserver(look).observe(document, {subtree: true, childList: true, attributes: true});
})"""


class Browser:
    """One page of a headless Chromium: commands go in by one pipe, answers and events come out of the other."""

    def __init__(self, binary: str, profile: Path) -> None:
        command_read, self._commands = os.pipe()
        self._answers, answer_write = os.pipe()
        place = [sys.executable, "-c", PLACE_PIPES, str(command_read), str(answer_write)]
        self._process = subprocess.Popen(
            [*place, binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(command_read, answer_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(answer_write)
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._send(method, self._session, **params)

    def _send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._answers, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(message))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, page: Path, fragment: str = "") -> dict[str, str]:
        """Open a report, wait until its script says that it is ready, and return the body's data attributes."""
        self.send("Page.navigate", url="about:blank")
        self.events.clear()
        self.send("Page.navigate", url=page.as_uri() + fragment)
        self.evaluate(READY)
        return self.facts()

    def facts(self) -> dict[str, str]:
        return dict(self.evaluate("({...document.body.dataset})"))

    def after(self, action: str, attribute: str) -> dict[str, str]:
        """Run `action` and wait until the body's `attribute` is written again."""
        self.evaluate(f"""new Promise(done => {{
            new MutationObserver((_, self) => (self.disconnect(), setTimeout(done, 0)))
                .observe(document.body, {{attributeFilter: ["{attribute}"]}});
            {action};
        }})""")
        return self.facts()

    def requests(self) -> list[str]:
        """What the page asked for, but for itself and for what it holds in its own text."""
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]

    def failures(self) -> list[str]:
        thrown = [e for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        errors = [
            e for e in self.events if e.get("method") == "Runtime.consoleAPICalled" and e["params"]["type"] == "error"
        ]
        return [json.dumps(event["params"]) for event in thrown + errors]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        pytest.skip("no Chromium is installed (on Debian: apt-get install chromium)")
    page = Browser(binary, tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


def bars(symbol: str, count: int, seed: int) -> BarSeries:
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.0005, count))), 2)
    opens = np.concatenate((close[:1], close[:-1]))
    highs, lows = np.round(np.maximum(opens, close) + 0.01, 2), np.round(np.minimum(opens, close) - 0.01, 2)
    return builders.series(close, opens=opens, highs=highs, lows=lows, volumes=1.0, symbol=symbol, step="1m")


def run(count: int, fills: int, *, symbols: tuple[str, ...] = ("AAA",), tag: str | None = None) -> Result:
    """Each symbol is bought and sold in turn, one unit at the open, at evenly spaced bars."""
    series = {symbol: bars(symbol, count, seed) for seed, symbol in enumerate(symbols)}
    first = series[symbols[0]]
    equity = np.full(count, 10_000.0)
    held = np.zeros(count)
    made = []
    for data in series.values():
        at = np.linspace(1, count - 2, fills).astype(int)
        for index, row in enumerate(at.tolist()):
            buy = index % 2 == 0
            price = float(data.open[row])
            side = Side.BUY if buy else Side.SELL
            made.append(
                Fill(
                    number=len(made) + 1,
                    symbol=data.symbol,
                    ts_ns=int(data.start[row]),
                    side=side,
                    lots=1,
                    quantity=1.0,
                    price=price,
                    commission=0.0,
                    tag=tag,
                )
            )
        signs = np.where(np.arange(fills) % 2 == 0, 1.0, -1.0)
        position = np.zeros(count)
        np.add.at(position, at, signs)
        spent = np.zeros(count)
        np.add.at(spent, at, signs * data.open[at])
        position = np.cumsum(position)
        equity += position * data.close - np.cumsum(spent)
        held += position * data.close
    return Result(
        RunRecord(
            run_id="run-1",
            strategy="SmaCross",
            symbols=symbols,
            timeframe=first.timeframe,
            series=series,
            fills=made,
            equity_start=first.start,
            equity_end=first.end,
            equity=equity,
            cash=equity - held,
            gross_exposure=held,
            net_exposure=held,
            initial_cash=10_000.0,
            bars=count * len(symbols),
            plots=[PlotSeries(symbol=symbols[0], name="mean", values=np.convolve(first.close, np.ones(9) / 9)[:count])],
        )
    )


def test_a_report_draws_its_charts_and_asks_no_network(browser: Browser, tmp_path: Path) -> None:
    page = run(1_200, 40).report(tmp_path / "report.html")
    facts = browser.open(page)
    assert facts["ready"] == "true"
    assert (facts["candles"], facts["barsPerCandle"], facts["marks"], facts["trades"]) == ("1200", "1", "40", "20")
    assert browser.evaluate("document.querySelectorAll('#price .boxes path, #price .boxlayer path').length") > 0
    assert browser.evaluate("document.querySelectorAll('#trades tbody tr').length") == 20
    assert browser.requests() == []
    assert browser.failures() == []


def test_the_page_unpacks_exactly_the_bars_of_the_run(browser: Browser, tmp_path: Path) -> None:
    result = run(1_200, 2)
    browser.open(result.report(tmp_path / "report.html"))
    series = result.record.series["AAA"]
    candles = browser.evaluate(
        "(({x, open, high, low, close}) => ({x, open, high, low, close}))"
        "(document.getElementById('price').data.find(trace => trace.type === 'candlestick'))"
    )
    assert candles["x"] == (series.start // 1_000_000).tolist()
    for name in ("open", "high", "low", "close"):
        assert candles[name] == getattr(series, name).tolist(), name
    equity = browser.evaluate("document.getElementById('equity').data.find(trace => trace.name === 'strategy').y")
    assert equity == pytest.approx(result.record.equity.tolist(), abs=1e-6)
    hold = browser.evaluate("document.getElementById('equity').data.find(trace => trace.name === 'buy and hold').y")
    assert hold[-1] == pytest.approx(result.stats["buy_and_hold_final_equity"])


def test_many_bars_are_merged_for_the_eye_without_losing_a_spike_and_exact_on_zoom(
    browser: Browser, tmp_path: Path
) -> None:
    result = run(200_000, 6_000)
    series = result.record.series["AAA"]
    high, equity = series.high.copy(), result.record.equity.copy()
    high[123_457], equity[77_777] = 500.0, 20_000.0
    changed = replace(result.record, series={"AAA": replace(series, high=high)}, equity=equity)
    page = Result(changed).report(tmp_path / "report.html")
    facts = browser.open(page)
    assert int(facts["barsPerCandle"]) > 100
    assert int(facts["candles"]) <= 1_501
    assert int(facts["points"]) <= 3_000
    assert int(facts["marks"]) <= 400
    assert browser.evaluate("Math.max(...document.getElementById('price').data[0].high)") == 500.0
    drawn = "document.getElementById('equity').data.find(trace => trace.name === 'strategy').y"
    assert browser.evaluate(f"Math.max(...{drawn})") == 20_000.0
    assert "6,000 fills, gathered into" in browser.evaluate("document.getElementById('price-status').textContent")

    zoomed = browser.after(
        "Plotly.relayout('price', {'xaxis.range[0]': '2024-02-01 00:00', 'xaxis.range[1]': '2024-02-01 10:00'})",
        "data-candles",
    )
    assert zoomed["barsPerCandle"] == "1"
    assert 600 <= int(zoomed["candles"]) <= 603
    first = int((np.datetime64("2024-02-01", "ns").astype(np.int64) - series.start[0]) // MINUTE)
    candles = "document.getElementById('price').data[0]"
    assert browser.evaluate(f"{candles}.close.slice(1, 500)") == series.close[first : first + 499].tolist()
    assert browser.failures() == []

    back = browser.after("[...document.querySelectorAll('#spans button')].at(-1).click()", "data-candles")
    assert back["barsPerCandle"] == facts["barsPerCandle"]


def test_a_view_can_be_opened_by_its_address(browser: Browser, tmp_path: Path) -> None:
    page = run(5_000, 10, symbols=("AAA", "BBB")).report(tmp_path / "report.html")
    facts = browser.open(page, "#symbol=BBB&from=2024-01-02&to=2024-01-02T05:00Z")
    assert facts["barsPerCandle"] == "1"
    assert browser.evaluate("document.getElementById('symbol').selectedOptions[0].textContent") == "BBB"
    assert browser.evaluate("document.getElementById('price').data[0].name") == "BBB"


def test_trades_sort_turn_pages_and_lead_to_the_chart(browser: Browser, tmp_path: Path) -> None:
    result = run(3_000, 120)
    browser.open(result.report(tmp_path / "report.html"))
    profits = "[...document.querySelectorAll('#trades tbody tr')].map(row => row.cells[6].textContent)"
    browser.evaluate(
        "[...document.querySelectorAll('#trades th button')].find(b => b.textContent === 'Profit').click()"
    )
    best = sorted(result.trades["pnl"].to_list(), reverse=True)[:25]
    assert browser.evaluate(profits) == [f"{value:,.2f}" for value in best]
    browser.evaluate("[...document.querySelectorAll('#pager button')].at(-1).click()")
    assert browser.evaluate("document.querySelectorAll('#trades tbody tr').length") == 10
    assert "51 to 60 of 60" in browser.evaluate("document.getElementById('trades-status').textContent")
    facts = browser.after("document.querySelector('#trades tbody tr').click()", "data-candles")
    assert int(facts["candles"]) < 200
    assert facts["marks"] == "2"


def test_hostile_names_and_tags_stay_text(browser: Browser, tmp_path: Path) -> None:
    record = run(300, 6, symbols=(HOSTILE,), tag=HOSTILE).record
    hostile = replace(
        record,
        strategy=HOSTILE,
        source=f"'''{HOSTILE}'''",
        params={HOSTILE: HOSTILE},
        settings={"note": [HOSTILE]},
        warnings=(HOSTILE,),
        notes=(HOSTILE,),
        run_id=HOSTILE,
        plots=[PlotSeries(symbol=HOSTILE, name=HOSTILE, values=record.series[HOSTILE].close, overlay=False)],
    )
    facts = browser.open(Result(hostile).report(tmp_path / "report.html"))
    assert facts["ready"] == "true"
    assert "owned" not in facts
    assert browser.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert HOSTILE in browser.evaluate("document.querySelector('#trades tbody').textContent")
    assert HOSTILE in browser.evaluate("document.querySelector('pre').textContent")
    assert browser.evaluate("document.images.length") == 0
    assert browser.requests() == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_shortest_runs_open(browser: Browser, tmp_path: Path, count: int) -> None:
    series = bars("AAA", count, 1)
    record = replace(
        run(10, 2).record,
        series={"AAA": series},
        equity_start=series.start,
        equity_end=series.end,
        fills=(),
        plots=(),
        bars=count,
        **{name: np.full(count, 10_000.0) for name in ("equity", "cash", "gross_exposure", "net_exposure")},
    )
    facts = browser.open(Result(record).report(tmp_path / "report.html"))
    assert facts["ready"] == "true"
    assert browser.failures() == []
    assert browser.evaluate("document.getElementById('trades-status').textContent") == "No trades."


@pytest.mark.parametrize("symbols", [("AAA",), ("AAA", "LONGNAME")])
def test_a_phone_of_390_pixels_shows_the_profit_of_every_trade(
    browser: Browser, tmp_path: Path, symbols: tuple[str, ...]
) -> None:
    page = run(3_000, 60, symbols=symbols, tag="a tag").report(tmp_path / "report.html")
    browser.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    try:
        browser.open(page)
        assert browser.evaluate("document.documentElement.scrollWidth") == 390  # the page does not scroll sideways
        edges = browser.evaluate("""(() => {
            const right = document.querySelector("#trades").closest(".scroll").getBoundingClientRect().right;
            const cells = [...document.querySelectorAll("#trades tr")].map(row => [...row.cells]);
            const profit = cells[0].findIndex(cell => cell.textContent === "Profit");
            return [right, ...cells.map(row => row[profit].getBoundingClientRect().right)];
        })()""")
        assert len(edges) > 20
        assert max(edges[1:]) <= edges[0] <= 390
        assert browser.evaluate("getComputedStyle(document.getElementById('trades-narrow')).display") == "block"
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")
    browser.open(page)
    assert browser.evaluate("getComputedStyle(document.getElementById('trades-narrow')).display") == "none"
    assert browser.evaluate("[...document.querySelectorAll('#trades th')].every(cell => cell.offsetWidth > 0)")
