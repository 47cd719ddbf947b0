"use strict";
// The report's page: decodes columns, draws two linked charts and the trade list. It makes no request.
(() => {
  const $ = (id) => document.getElementById(id);
  const facts = JSON.parse($("facts").textContent);
  const CANDLES = 1500, POINTS = 3000, MARKERS = 400, PAGE = 25;
  const DAY = 86400e3;
  const ROUNDING = 1e-10; // the same as ROUNDING in results/metrics.py

  // --- Unpacking (the other half is column_codec.py) ----------------------------------------------------------------------

  const cache = new Map();

  function load(name) {
    if (!cache.has(name)) cache.set(name, read(name));
    return cache.get(name);
  }

  async function read(name) {
    const element = $("block-" + name);
    const block = JSON.parse(element.textContent);
    element.remove(); // the text is no longer needed, and it is large
    const packed = await fetch("data:application/octet-stream;base64," + block.data);
    const stream = packed.body.pipeThrough(new DecompressionStream("gzip"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    return unpack(block, bytes);
  }

  function unpack(block, bytes) {
    const rows = block.rows, columns = { rows, exact: true };
    const whole = {};
    let offset = 0;
    for (const spec of block.columns) {
      const planes = bytes.subarray(offset, (offset += spec.planes * rows));
      if (!spec.exact) columns.exact = false;
      if (spec.kind === "f64") columns[spec.name] = doubles(planes, rows);
      else if (spec.kind === "bar") whole[spec.name] = { spec, values: integers(planes, rows, spec.planes) };
      else columns[spec.name] = steps(spec, integers(planes, rows, spec.planes));
    }
    if (whole.open) bars(columns, whole, rows);
    return columns;
  }

  function integers(planes, rows, count) {
    const values = new Int32Array(rows);
    for (let plane = 0; plane < count; plane++) {
      const shift = 8 * plane, from = plane * rows;
      for (let i = 0; i < rows; i++) values[i] |= planes[from + i] << shift;
    }
    for (let i = 0; i < rows; i++) values[i] = (values[i] >>> 1) ^ -(values[i] & 1);
    return values;
  }

  function doubles(planes, rows) {
    const bytes = new Uint8Array(rows * 8);
    for (let plane = 0; plane < 8; plane++) for (let i = 0; i < rows; i++) bytes[i * 8 + plane] = planes[plane * rows + i];
    return new Float64Array(bytes.buffer);
  }

  function steps(spec, values) {
    const out = new Float64Array(values.length), factor = 10 ** spec.decimals;
    let sum = spec.base;
    for (let i = 0; i < values.length; i++) out[i] = (sum += values[i]) / factor;
    for (const [first, count] of spec.nan || []) out.fill(NaN, first, first + count);
    return out;
  }

  function bars(columns, whole, rows) {
    const factor = 10 ** whole.open.spec.decimals;
    const [dOpen, dHigh, dLow, dClose] = ["open", "high", "low", "close"].map((name) => whole[name].values);
    const [open, high, low, close] = [0, 0, 0, 0].map(() => new Float64Array(rows));
    let before = whole.open.spec.base;
    for (let i = 0; i < rows; i++) {
      const o = before + dOpen[i], c = o + dClose[i];
      open[i] = o / factor;
      close[i] = c / factor;
      high[i] = ((o > c ? o : c) + dHigh[i]) / factor;
      low[i] = ((o < c ? o : c) - dLow[i]) / factor;
      before = c;
    }
    Object.assign(columns, { open, high, low, close });
  }

  // --- Text -----------------------------------------------------------------------------------------------------------

  const amount = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 10 });
  const count = new Intl.NumberFormat("en");
  const number = (value, format = plain) => (Number.isFinite(value) ? format.format(value) : "\u2013");
  const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const money = (value) => number(value, value && Math.abs(value) < 0.1 ? small : amount);
  const percent = (value) => (Number.isFinite(value) ? amount.format(value * 100) + " %" : "\u2013");
  // Plotly reads tags in its texts; what comes from a strategy is text and stays text.
  const literal = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const plural = (n, one) => `${count.format(n)} ${one}${n === 1 ? "" : "s"}`;

  function when(seconds) {
    const text = new Date(seconds * 1000).toISOString();
    if (seconds % 86400 === 0) return text.slice(0, 10);
    return text.slice(0, seconds % 60 ? 19 : 16).replace("T", " ");
  }

  function length(seconds) {
    for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]])
      if (seconds >= size) return `${plain.format(+(seconds / size).toPrecision(3))} ${unit}${seconds === size ? "" : "s"}`;
    return `${seconds} s`;
  }

  // --- Arithmetic for the eye -----------------------------------------------------------------------------------------

  function lowerBound(values, wanted) { // the first row whose value is not below `wanted`
    let low = 0, high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Rows from low to high: of each bucket its first, lowest, highest and last, so that no spike is lost.
  function extremes(values, low, high, points) {
    const rows = [];
    if (high - low <= points) {
      for (let i = low; i < high; i++) rows.push(i);
      return rows;
    }
    const size = Math.ceil((high - low) / (points / 4));
    for (let first = low; first < high; first += size) {
      const end = Math.min(first + size, high);
      let least = first, most = first;
      for (let i = first + 1; i < end; i++) {
        if (values[i] < values[least] || Number.isNaN(values[least])) least = i;
        if (values[i] > values[most] || Number.isNaN(values[most])) most = i;
      }
      for (const row of [first, Math.min(least, most), Math.max(least, most), end - 1])
        if (rows.length === 0 || row > rows[rows.length - 1]) rows.push(row);
    }
    return rows;
  }

  function merge(data, low, high, most) {
    const size = Math.max(1, Math.ceil((high - low) / most));
    const out = { size, time: [], open: [], high: [], low: [], close: [] };
    for (let first = low - (low % size); first < high; first += size) { // buckets stay where they are while panning
      const end = Math.min(first + size, data.rows);
      let top = data.high[first], bottom = data.low[first];
      for (let i = first + 1; i < end; i++) {
        if (data.high[i] > top) top = data.high[i];
        if (data.low[i] < bottom) bottom = data.low[i];
      }
      out.time.push(data.start[first] * 1000);
      out.open.push(data.open[first]);
      out.high.push(top);
      out.low.push(bottom);
      out.close.push(data.close[end - 1]);
    }
    return out;
  }

  function closing(low, high, size, count) {
    const rows = [];
    for (let first = low - (low % size); first < high; first += size) rows.push(Math.min(first + size, count) - 1);
    return rows;
  }

  const pick = (values, rows) => rows.map((row) => (Number.isNaN(values[row]) ? null : values[row]));

  // --- State and colours ----------------------------------------------------------------------------------------------

  const state = { symbol: 0, from: null, to: null, log: false, hold: true, page: 0, sort: null, descending: true };
  let whole = [0, 1]; // first bar's start and last bar's end, ms
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const shade = (hex, alpha) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},${alpha})`;
  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: false };

  function frame(extra) {
    const axis = { gridcolor: color("line"), linecolor: color("line"), zerolinecolor: color("line"), separatethousands: true, exponentformat: "none" };
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 74, r: 10, t: 30, b: 30 }, // the same in both charts, so that their times stand above each other
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: color("muted") },
      dragmode: "zoom", hovermode: "x", showlegend: true, hoverdistance: 30, uirevision: "keep", bargap: 0,
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { color: color("ink") }, bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("ink") }, namelength: -1 },
      xaxis: { ...axis, type: "date", range: view(), showgrid: false, rangeslider: { visible: false }, hoverformat: "%Y-%m-%d %H:%M" },
    };
    return { axis, layout: { ...base, ...extra(axis, base) } };
  }

  const view = () => (state.from === null ? [...whole] : [state.from, state.to]); // Plotly writes into what it is given

  // A range for a value axis: its extent and a little air.
  function around(low, high, log) {
    if (!(high >= low)) return undefined;
    if (log && low > 0) [low, high] = [Math.log10(low), Math.log10(high)];
    const air = (high - low) * 0.05 || Math.abs(high) * 0.01 || 1;
    return [low - air, high + air];
  }

  function extent(lists) {
    let low = Infinity, high = -Infinity;
    for (const values of lists) for (const value of values)
      if (value !== null && Number.isFinite(value)) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    return [low, high];
  }

  // --- Equity ---------------------------------------------------------------------------------------------------------

  let equity = null;

  async function loadEquity() {
    equity = await load("equity");
    equity.drawdown = new Float64Array(equity.rows);
    let peak = facts.initial;
    for (let i = 0; i < equity.rows; i++) {
      if (equity.equity[i] > peak) peak = equity.equity[i];
      const fall = peak > 0 ? equity.equity[i] / peak - 1 : NaN;
      equity.drawdown[i] = fall >= -ROUNDING ? 0 : fall;
    }
    if (facts.equity_rows.hold_from_closes) {
      const data = await load("bars-0");
      if (data.rows === equity.rows) equity.hold = data.close.map((close) => (facts.initial * close) / data.close[0]);
    }
  }

  async function drawEquity() {
    const [from, to] = view();
    const low = Math.max(0, lowerBound(equity.start, from / 1000) - 1);
    const high = Math.min(equity.rows, lowerBound(equity.start, to / 1000) + 1);
    const rows = extremes(equity.equity, low, high, POINTS);
    const series = (values, name, colorName, width, extra) => {
      const at = values === equity.equity ? rows : extremes(values, low, high, POINTS);
      return { type: "scatter", mode: "lines", name, x: at.map((row) => equity.start[row] * 1000), y: pick(values, at),
        line: { color: color(colorName), width }, hovertemplate: "%{y:,.2f}", ...extra };
    };
    const traces = [];
    if (equity.hold && state.hold) traces.push(series(equity.hold, "buy and hold", "hold", 1.3, {}));
    traces.push(series(equity.equity, "strategy", "accent", 1.8, {}));
    const top = extent(traces.map((trace) => trace.y));
    const fall = series(equity.drawdown, "drawdown", "down", 1, { yaxis: "y2", fill: "tozeroy", showlegend: false, hovertemplate: "%{y:.2%}" });
    fall.fillcolor = shade(color("down"), 0.16);
    traces.push(fall);
    const deepest = extent([fall.y])[0];
    const log = state.log && top[0] > 0;
    const { layout } = frame((axis) => ({
      hovermode: "x unified",
      yaxis: { ...axis, domain: [0.32, 1], fixedrange: true, type: log ? "log" : "linear", range: around(...top, log) },
      yaxis2: { ...axis, domain: [0, 0.26], fixedrange: true, range: [Math.min(deepest * 1.08, -1e-6), 0], tickformat: ".1~%", nticks: 4 },
    }));
    layout.xaxis.anchor = "y2";
    await Plotly.react("equity", traces, layout, CONFIG);
    const shown = high - low;
    $("equity-status").textContent = rows.length < shown
      ? `${count.format(rows.length)} points for ${plural(shown, "bar")}, with every high and low. Drag to zoom in, double-click to show everything.`
      : "";
    document.body.dataset.points = rows.length;
  }

  // --- Price and fills ------------------------------------------------------------------------------------------------

  let fills = null; // columns of all fills, and per shown symbol the rows of its own

  async function loadFills() {
    fills = await load("fills");
    fills.by = facts.symbols.map(() => []);
    for (let i = 0; i < fills.rows; i++) if (fills.place[i] >= 0) fills.by[fills.place[i]].push(i);
  }

  function describe(i) {
    const tag = facts.tags[fills.tag[i]];
    return `${fills.buy[i] ? "buy" : "sell"} ${number(fills.quantity[i])} at ${number(fills.price[i])}<br>${when(fills.time[i])}, order ${fills.order[i]}` +
      (tag === null || tag === undefined ? "" : `<br>${literal(tag)}`);
  }

  // Marks for the fills from `from` to `to`: at their price; too many are gathered, buys below the candles and sells above.
  function markers(from, to, shown) {
    const mine = fills.by[state.symbol].filter((i) => fills.time[i] * 1000 >= from && fills.time[i] * 1000 <= to);
    const marked = { buys: [], sells: [], total: mine.length, thinned: mine.length > MARKERS };
    if (!marked.thinned) {
      for (const i of mine) (fills.buy[i] ? marked.buys : marked.sells).push({ x: fills.time[i] * 1000, y: fills.price[i], n: 1, text: describe(i) });
      return marked;
    }
    const width = (to - from) / (MARKERS / 8), air = (extent([shown.high])[1] - extent([shown.low])[0]) * 0.025;
    const buckets = new Map();
    for (const i of mine) {
      const key = Math.floor((fills.time[i] * 1000 - from) / width) * 2 + fills.buy[i];
      if (!buckets.has(key)) buckets.set(key, []);
      buckets.get(key).push(i);
    }
    for (const [key, group] of buckets) {
      const bought = key % 2 === 1, start = from + Math.floor(key / 2) * width;
      const first = Math.max(0, lowerBound(shown.time, start) - 1), last = Math.max(first + 1, lowerBound(shown.time, start + width));
      const side = (bought ? shown.low : shown.high).slice(first, last);
      const text = group.length === 1 ? describe(group[0])
        : `${count.format(group.length)} ${bought ? "buys" : "sells"}<br>${when(fills.time[group[0]])} to ${when(fills.time[group[group.length - 1]])}`;
      (bought ? marked.buys : marked.sells).push({ x: start + width / 2, y: bought ? Math.min(...side) - air : Math.max(...side) + air, n: group.length, text });
    }
    return marked;
  }

  function markerTrace(points, name, symbol, colorName) {
    const most = Math.max(1, ...points.map((point) => point.n));
    return { type: "scatter", mode: "markers", name, x: points.map((p) => p.x), y: points.map((p) => p.y), text: points.map((p) => p.text),
      hovertemplate: "%{text}<extra></extra>",
      marker: { symbol, color: color(colorName), opacity: 1, line: { color: color("card"), width: 1.2 },
        size: points.map((p) => (most > 1 ? 5 + 7 * Math.sqrt(p.n / most) : 12)) } };
  }

  // Over merged candles an overlay has one value per candle, its last: more would hide them.
  function plotTraces(info, plots, data, low, high, size) {
    const panels = [], traces = [];
    info.plots.forEach((plot, index) => {
      const values = plots[String(index)], rows = plot.overlay ? closing(low, high, size, data.rows) : extremes(values, low, high, POINTS);
      let axis = "y";
      if (!plot.overlay) {
        if (!panels.includes(plot.name)) panels.push(plot.name);
        axis = "y" + (panels.indexOf(plot.name) + 2);
      }
      const trace = { name: literal(plot.name), x: rows.map((row) => data.start[plot.overlay ? row - (row % size) : row] * 1000), y: pick(values, rows), yaxis: axis,
        hovertemplate: "%{y:,.6~g}", connectgaps: false };
      const paint = color("o" + ((index % 6) + 1));
      if (plot.style === "bars") traces.push({ ...trace, type: "bar", marker: { color: paint } });
      else if (plot.style === "points") traces.push({ ...trace, type: "scatter", mode: "markers", marker: { color: paint, size: 4 } });
      else traces.push({ ...trace, type: "scatter", mode: "lines", line: { color: paint, width: size > 1 ? 1 : 1.4, shape: plot.style === "step" ? "hv" : "linear" } });
    });
    return { panels, traces };
  }

  async function drawPrice() {
    const info = facts.symbols[state.symbol];
    if (!info) return;
    const data = await load("bars-" + state.symbol);
    const [from, to] = view();
    const low = Math.max(0, lowerBound(data.start, from / 1000) - 1);
    const high = Math.min(data.rows, lowerBound(data.start, to / 1000) + 1);
    const shown = merge(data, low, high, CANDLES);
    const candle = { type: "candlestick", name: literal(info.name), x: shown.time, open: shown.open, high: shown.high, low: shown.low, close: shown.close,
      increasing: { line: { color: color("up"), width: 1 }, fillcolor: color("up") },
      decreasing: { line: { color: color("down"), width: 1 }, fillcolor: color("down") }, showlegend: false };
    const traces = [candle];
    let panels = [];
    if (info.plots.length) {
      const plotted = plotTraces(info, await load("plots-" + state.symbol), data, low, high, shown.size);
      panels = plotted.panels;
      traces.push(...plotted.traces);
    }
    const marked = markers(from, to, shown);
    traces.push(markerTrace(marked.buys, "buys", "triangle-up", "buy"), markerTrace(marked.sells, "sells", "triangle-down", "sell"));
    const inside = traces.filter((trace) => trace !== candle && (trace.yaxis || "y") === "y").map((trace) => trace.y);
    const { layout } = frame((axis) => {
      const share = Math.min(0.16 * panels.length, 0.5), each = panels.length ? share / panels.length : 0;
      const axes = { yaxis: { ...axis, domain: [panels.length ? share + 0.04 : 0, 1], fixedrange: true, range: around(...extent([shown.low, shown.high, ...inside])) } };
      panels.forEach((name, index) => {
        const bottom = share - (index + 1) * each;
        axes["yaxis" + (index + 2)] = { ...axis, domain: [bottom + 0.01, bottom + each - 0.01], fixedrange: true, nticks: 4, title: { text: literal(name), font: { size: 11 } } };
      });
      return axes;
    });
    if (panels.length) layout.xaxis.anchor = "y" + (panels.length + 1);
    await Plotly.react("price", traces, layout, CONFIG);
    const per = shown.size * info.size;
    const parts = [per === 1 ? plural(shown.time.length, "bar") : `${plural(shown.time.length, "candle")} of ${count.format(per)} bars each; drag to zoom in`];
    if (info.size > 1) parts.push(`this page holds the ${count.format(info.bars)} bars merged ${info.size} at a time`);
    if (marked.thinned) parts.push(`${count.format(marked.total)} fills, gathered into ${count.format(marked.buys.length + marked.sells.length)} marks`);
    else if (marked.total) parts.push(plural(marked.total, "fill"));
    if (!data.exact) parts.push("prices rounded to about nine digits");
    $("price-status").textContent = parts.join("; ") + ".";
    Object.assign(document.body.dataset, { candles: shown.time.length, barsPerCandle: per, marks: marked.buys.length + marked.sells.length });
  }

  // --- Moving through time --------------------------------------------------------------------------------------------

  let drawing = false, again = false;

  async function draw() {
    if (drawing) { again = true; return; }
    drawing = true;
    try {
      do {
        again = false;
        await drawEquity();
        await drawPrice();
      } while (again);
    } finally {
      drawing = false;
    }
    spans();
  }

  function show(from, to) {
    const least = facts.timeframe_s * 1000 * 5;
    if (to - from < least) [from, to] = [(from + to - least) / 2, (from + to + least) / 2];
    const everything = from <= whole[0] && to >= whole[1];
    [state.from, state.to] = everything ? [null, null] : [from, to];
    return draw();
  }

  const SPANS = [["10y", 3652.5], ["5y", 1826.25], ["1y", 365.25], ["3m", 91.3], ["1m", 30.4], ["1w", 7], ["1d", 1], ["3h", 0.125]];

  function spans() {
    const [from, to] = view(), box = $("spans");
    box.textContent = "";
    const add = (text, title, action, pressed, disabled) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, title, disabled: !!disabled, onclick: action });
      if (pressed !== undefined) button.setAttribute("aria-pressed", pressed);
      box.append(button);
    };
    const step = (to - from) * 0.8;
    add("\u2039", "Earlier", () => show(from - step, to - step), undefined, from <= whole[0]);
    add("\u203a", "Later", () => show(from + step, to + step), undefined, to >= whole[1]);
    for (const [text, days] of SPANS) {
      const span = days * DAY;
      if (span >= whole[1] - whole[0] || span < facts.timeframe_s * 20e3) continue;
      const end = state.from === null ? whole[1] : Math.min(to, whole[1]);
      add(text, `Show ${text}`, () => show(end - span, end), Math.abs(to - from - span) < 1000);
    }
    add("all", "Show everything", () => show(...whole), state.from === null);
  }

  function follow(id) {
    $(id).on("plotly_relayout", (event) => {
      if ("xaxis.range[0]" in event) {
        const [from, to] = [event["xaxis.range[0]"], event["xaxis.range[1]"]].map((value) => typeof value === "number" ? value : Date.parse(value.replace(" ", "T").replace(/^(\d{4}-\d\d-\d\d)$/, "$1T00:00") + "Z"));
        if (Math.abs(from - view()[0]) > 1 || Math.abs(to - view()[1]) > 1) show(from, to);
      }
    });
    $(id).on("plotly_doubleclick", () => show(...whole));
  }

  // --- Trades ---------------------------------------------------------------------------------------------------------

  let trades = null, order = null;
  const COLUMNS = [
    ["Side", (i) => trades.long[i], (i) => (trades.long[i] ? "long" : "short")],
    ["Symbol", (i) => fills.symbol[trades.entry[i]], (i) => facts.symbol_names[fills.symbol[trades.entry[i]]]],
    ["Quantity", (i) => trades.quantity[i], (i) => number(trades.quantity[i]), "num wide"],
    ["Entry", (i) => fills.time[trades.entry[i]], (i) => when(fills.time[trades.entry[i]]), "when"],
    ["at", (i) => trades.entry_price[i], (i) => number(trades.entry_price[i]), "num wide"],
    ["Exit", (i) => (trades.exit[i] < 0 ? Infinity : fills.time[trades.exit[i]]), (i) => (trades.exit[i] < 0 ? "open" : when(fills.time[trades.exit[i]])), "when wide"],
    ["at", (i) => trades.exit_price[i], (i) => number(trades.exit_price[i]), "num wide"],
    ["Profit", (i) => trades.pnl[i], (i) => money(trades.pnl[i]), "num tone"],
    ["Return", (i) => trades.return[i], (i) => percent(trades.return[i]), "num tone"],
    ["Costs", (i) => trades.commission[i], (i) => money(trades.commission[i]), "num wide"],
    ["Bars", (i) => trades.bars[i], (i) => number(trades.bars[i]), "num wide"],
    ["Tags", (i) => tags(i), (i) => tags(i), "tag wide"],
  ];

  function tags(i) {
    const of = (fill) => (fill < 0 ? null : facts.tags[fills.tag[fill]]);
    return [of(trades.entry[i]), of(trades.exit[i])].filter((tag) => tag !== null && tag !== undefined).join(" / ");
  }

  function sortTrades() {
    order = Int32Array.from({ length: trades.rows }, (_, i) => i);
    if (state.sort === null) return;
    const key = Array.from(order, COLUMNS[state.sort][1]), sign = state.descending ? -1 : 1;
    const rank = (a, b) => (key[a] < key[b] ? -sign : key[a] > key[b] ? sign : a - b);
    order.sort(rank);
  }

  function drawTrades() {
    const table = $("trades"), pages = Math.max(1, Math.ceil(trades.rows / PAGE));
    table.textContent = "";
    if (!trades.rows) {
      $("trades-status").textContent = "No trades.";
      return;
    }
    const used = COLUMNS.map((column, index) => [index, ...column]).filter(([, name]) =>
      (name !== "Tags" || facts.tags.length > 1) && (name !== "Symbol" || facts.symbol_names.length > 1));
    const head = table.createTHead().insertRow();
    for (const [index, name, , , kind] of used) {
      const cell = document.createElement("th"), button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: name, title: "Sort", onclick: () => {
        [state.descending, state.sort, state.page] = [state.sort === index ? !state.descending : true, index, 0];
        sortTrades();
        drawTrades();
      } });
      if (state.sort === index) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      cell.className = ["num", "wide"].filter((name) => (kind || "").split(" ").includes(name)).join(" ");
      cell.append(button);
      head.append(cell);
    }
    const body = table.createTBody(), first = state.page * PAGE, last = Math.min(first + PAGE, trades.rows);
    for (let at = first; at < last; at++) {
      const i = order[at], row = body.insertRow();
      for (const [, , value, text, kind] of used) {
        const cell = row.insertCell();
        cell.textContent = text(i);
        cell.className = (kind || "").replace("tone", value(i) > 0 ? "up" : value(i) < 0 ? "down" : "");
      }
      row.title = "Show this trade in the charts";
      row.onclick = () => showTrade(i);
    }
    const missing = facts.counts.trades + facts.counts.open - trades.rows;
    $("trades-status").textContent = `${count.format(first + 1)} to ${count.format(last)} of ${count.format(trades.rows)}` +
      (missing > 0 ? `; ${count.format(missing)} more are in result.trades` : "") + ". Click a trade to see it in the charts.";
    $("trades-narrow").hidden = !trades.rows;
    const pager = $("pager");
    pager.textContent = "";
    const turn = (text, title, page, disabled) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, title, disabled, onclick: () => { state.page = page; drawTrades(); } });
      pager.append(button);
    };
    if (pages === 1) return;
    turn("\u00ab", "First page", 0, state.page === 0);
    turn("\u2039", "Page before", state.page - 1, state.page === 0);
    const label = document.createElement("span");
    label.textContent = `${count.format(state.page + 1)} / ${count.format(pages)}`;
    pager.append(label);
    turn("\u203a", "Next page", state.page + 1, state.page === pages - 1);
    turn("\u00bb", "Last page", pages - 1, state.page === pages - 1);
  }

  function showTrade(i) {
    const place = fills.place[trades.entry[i]];
    const from = fills.time[trades.entry[i]] * 1000, to = trades.exit[i] < 0 ? whole[1] : fills.time[trades.exit[i]] * 1000;
    const air = Math.max((to - from) * 0.75, facts.timeframe_s * 20e3);
    if (place >= 0) $("symbol").value = state.symbol = place;
    $("price-card").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    show(from - air, to + air);
  }

  // --- Start ----------------------------------------------------------------------------------------------------------

  // report.html#symbol=A&from=2020-01-01&to=2020-02-01 opens at a view.
  function fromAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const place = facts.symbols.findIndex((symbol) => symbol.name === wanted.get("symbol"));
    if (place >= 0) state.symbol = place;
    const [from, to] = ["from", "to"].map((name) => Date.parse(wanted.get(name) || ""));
    if (to > from) [state.from, state.to] = [from, to];
  }

  function chooseSymbol() {
    const select = $("symbol");
    facts.symbols.forEach((symbol, index) => select.add(new Option(symbol.name, index)));
    select.hidden = facts.symbols.length < 2;
    select.value = state.symbol;
    select.onchange = () => { state.symbol = +select.value; draw(); };
    if (facts.counts.symbols > facts.symbols.length)
      select.title = `The ${facts.symbols.length} symbols with the most fills, of ${facts.counts.symbols}`;
  }

  async function start() {
    if (!("DecompressionStream" in window)) throw new Error("this browser is too old to unpack the data (it needs DecompressionStream, 2023)");
    await Promise.all([loadEquity(), loadFills()]);
    trades = await load("trades");
    sortTrades();
    drawTrades();
    document.body.dataset.trades = trades.rows;
    if (equity.rows) {
      whole = [equity.start[0] * 1000, (equity.start[equity.rows - 1] + facts.timeframe_s) * 1000];
      fromAddress();
      chooseSymbol();
      await draw();
      follow("equity");
      follow("price");
      for (const [id, key] of [["scale", "log"], ["beside", "hold"]]) {
        $(id).onclick = () => {
          state[key] = !state[key];
          $(id).setAttribute("aria-pressed", state[key]);
          draw();
        };
      }
      $("beside").hidden = !equity.hold;
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    } else {
      for (const id of ["equity-card", "price-card"]) $(id).hidden = true;
    }
    document.body.dataset.ready = "true";
  }

  start().catch((error) => {
    document.body.dataset.ready = "error";
    const notice = document.createElement("p");
    notice.className = "notice";
    notice.textContent = "The charts cannot be drawn: " + error.message;
    document.querySelector("main").prepend(notice);
    throw error;
  });
})();
