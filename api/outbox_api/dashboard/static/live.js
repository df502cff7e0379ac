// Keeps the overview up to date: one stream of server-sent events, regions of HTML that the server has drawn, and points
// for the plots. What is put into the page as HTML comes from our templates, which escape whatever they are given.
"use strict";

(() => {
  const link = document.getElementById("link");

  function put(name, html) {
    const region = document.getElementById(name);
    if (!region || region.innerHTML === html) return;
    const focused = region.contains(document.activeElement) ? address(document.activeElement) : null;
    const scrolled = [...region.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    region.innerHTML = html;
    region.querySelectorAll(".scroll").forEach((box, n) => (box.scrollLeft = scrolled[n] || 0));
    // Who walks through the page with the keyboard stays where they were.
    if (focused) [...region.querySelectorAll("a, [tabindex]")].find((one) => address(one) === focused)?.focus();
  }

  function address(element) {
    return `${element.tagName} ${element.getAttribute("href")} ${element.getAttribute("aria-labelledby")}`;
  }

  function take(regions) {
    link.hidden = true;
    for (const [name, html] of Object.entries(regions)) put(name, html);
  }

  const source = new EventSource("/dashboard/events");
  source.addEventListener("start", (event) => {
    const { history, regions, day } = JSON.parse(event.data);
    take(regions);
    window.plots?.reset(history);
    window.plots?.day(day);
  });
  source.addEventListener("frame", (event) => {
    const { point, regions, day } = JSON.parse(event.data);
    take(regions);
    window.plots?.add(point);
    if (day) window.plots?.day(day);
  });
  source.addEventListener("error", () => {
    link.hidden = false;
    // A session that has ended, among others, closes the source for good.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  });
})();
