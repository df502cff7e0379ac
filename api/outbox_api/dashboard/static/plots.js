// The plots, each with its latest values and a table: four of the last minutes, and four of the last 24 hours.
"use strict";

window.plots = (() => {
  const KEPT = 900;
  const ROWS = { live: 30, day: 288 };
  const HEIGHT = { live: 150, day: 100 };
  // Columns of a point: time, in, out, pending, oldest, median, longest.
  const COLUMNS = { rates: [1, 2], pending: [3], oldest: [4], delay: [5, 6] };
  const points = { live: [], day: [] };
  let away = []; // of the last 24 hours: [since, until or null]
  let lost = []; // the moments at which Redis had lost data
  const plots = [];

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const shown = (value) => (value === null ? "–" : value.toLocaleString("en", { maximumFractionDigits: 1 }));
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);

  function mark(chart) {
    const { ctx, bbox } = chart;
    const place = (seconds) => Math.min(Math.max(chart.valToPos(seconds, "x", true), bbox.left), bbox.left + bbox.width);
    ctx.save();
    ctx.fillStyle = style("--broken");
    ctx.globalAlpha = 0.25;
    for (const [since, until] of away) {
      const left = place(since);
      ctx.fillRect(left, bbox.top, Math.max(place(until ?? chart.scales.x.max) - left, 3), bbox.height);
    }
    ctx.globalAlpha = 1;
    ctx.fillStyle = style("--look");
    for (const moment of lost) ctx.fillRect(place(moment) - 1, bbox.top, 2, bbox.height);
    ctx.restore();
  }

  // An hour at least. Of the first minutes there is one point, which would get a day for itself, and what happened after
  // it would have no place.
  function hours() {
    const times = points.day.map(([time]) => time);
    const end = Math.max((times.at(-1) ?? 0) + 300, ...lost, ...away.flat().filter(Number.isFinite));
    return [Math.min(times[0] ?? end, end - 3600), end];
  }

  function make(figure) {
    const { plot: name, span } = figure.dataset;
    const columns = COLUMNS[name];
    const canvas = figure.querySelector(".canvas");
    const axis = { stroke: () => style("--muted"), grid: { stroke: () => style("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const chart = new uPlot(
      {
        width: canvas.clientWidth,
        height: HEIGHT[span],
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        hooks: span === "day" ? { drawClear: [mark] } : {},
        scales: { x: span === "day" ? { range: hours } : {}, y: { range: (_, __, high) => [0, Math.max(1, (high || 0) * 1.1)] } },
        axes: [{ ...axis, size: 26, space: span === "day" ? 60 : 80, values: (_, ticks) => ticks.map((tick) => clock(tick).slice(0, ticks[1] - ticks[0] < 60 ? 8 : 5)) }, { ...axis, size: 52, space: 36, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en", { notation: tick < 10000 ? "standard" : "compact" })) }],
        series: [{}, ...columns.map((_, n) => ({ stroke: () => style(`--series-${n + 1}`), width: 2, points: { size: 4 }, spanGaps: name === "delay" && span === "live" }))],
      },
      data(span, columns),
      canvas,
    );
    const plot = { figure, span, columns, canvas, chart };
    new ResizeObserver(() => chart.setSize({ width: canvas.clientWidth, height: HEIGHT[span] })).observe(canvas);
    figure.querySelector("details").addEventListener("toggle", () => tabulate(plot));
    return plot;
  }

  const data = (span, columns) => [0, ...columns].map((column) => points[span].map((point) => point[column]));

  function tabulate({ figure, span, columns }) {
    if (!figure.querySelector("details").open) return;
    const rows = points[span].slice(-ROWS[span]).reverse().map((point) => {
      const row = document.createElement("tr");
      for (const text of [clock(point[0]), ...columns.map((column) => shown(point[column]))]) {
        row.append(Object.assign(document.createElement("td"), { textContent: text }));
      }
      return row;
    });
    figure.querySelector("tbody").replaceChildren(...rows);
  }

  function draw(drawn) {
    const last = points[drawn][points[drawn].length - 1];
    for (const plot of plots.filter(({ span }) => span === drawn)) {
      plot.chart.setData(data(drawn, plot.columns));
      plot.columns.forEach((column, n) => {
        plot.figure.querySelector(`[data-value="${n}"]`).textContent = last ? shown(last[column]) : "–";
      });
      tabulate(plot);
    }
  }

  for (const figure of document.querySelectorAll("[data-plot]")) plots.push(make(figure));
  // The colours of a plot are those of the page, also when night falls.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(({ chart }) => chart.redraw()));

  return {
    reset(history) {
      points.live = history;
      draw("live");
    },
    add(point) {
      points.live.push(point);
      if (points.live.length > KEPT) points.live.shift();
      draw("live");
    },
    day(day) {
      points.day = day.points;
      away = day.away;
      lost = day.lost;
      draw("day");
    },
  };
})();
