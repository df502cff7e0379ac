// The four plots, each with its latest values and a table.
"use strict";

window.plots = (() => {
  const KEPT = 900;
  const ROWS = 30;
  const HEIGHT = 150;
  // Columns of a point: time, in, out, pending, oldest, median, longest.
  const COLUMNS = { rates: [1, 2], pending: [3], oldest: [4], delay: [5, 6] };
  let points = [];
  const plots = [];

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const shown = (value) => (value === null ? "–" : value.toLocaleString("en", { maximumFractionDigits: 1 }));
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);

  function make(figure) {
    const columns = COLUMNS[figure.dataset.plot];
    const canvas = figure.querySelector(".canvas");
    const axis = { stroke: () => style("--muted"), grid: { stroke: () => style("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const chart = new uPlot(
      {
        width: canvas.clientWidth,
        height: HEIGHT,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: { y: { range: (_, __, high) => [0, Math.max(1, (high || 0) * 1.1)] } },
        axes: [{ ...axis, size: 26, space: 80, values: (_, ticks) => ticks.map((tick) => clock(tick).slice(0, ticks[1] - ticks[0] < 60 ? 8 : 5)) }, { ...axis, size: 52, space: 36, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) }],
        series: [{}, ...columns.map((_, n) => ({ stroke: () => style(`--series-${n + 1}`), width: 2, points: { size: 4 }, spanGaps: figure.dataset.plot === "delay" }))],
      },
      data(columns),
      canvas,
    );
    const plot = { figure, columns, canvas, chart };
    new ResizeObserver(() => chart.setSize({ width: canvas.clientWidth, height: HEIGHT })).observe(canvas);
    figure.querySelector("details").addEventListener("toggle", () => tabulate(plot));
    return plot;
  }

  const data = (columns) => [0, ...columns].map((column) => points.map((point) => point[column]));

  function tabulate({ figure, columns }) {
    if (!figure.querySelector("details").open) return;
    const rows = points.slice(-ROWS).reverse().map((point) => {
      const row = document.createElement("tr");
      for (const text of [clock(point[0]), ...columns.map((column) => shown(point[column]))]) {
        row.append(Object.assign(document.createElement("td"), { textContent: text }));
      }
      return row;
    });
    figure.querySelector("tbody").replaceChildren(...rows);
  }

  function draw() {
    const last = points[points.length - 1];
    for (const plot of plots) {
      plot.chart.setData(data(plot.columns));
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
      points = history;
      draw();
    },
    add(point) {
      points.push(point);
      if (points.length > KEPT) points.shift();
      draw();
    },
  };
})();
