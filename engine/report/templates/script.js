"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const by = (id) => document.getElementById(id);

  by("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const show = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && by(id);
    if (!target) return;
    target.hidden = false;
    const inner = target.matches("details") ? target : target.querySelector("details");
    if (inner && target.closest("ol.tasks")) inner.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", show);

  const rows = all("ol.tasks > li");
  if (rows.length) {
    const words = by("words"), boxes = all("#filter input[type=checkbox]"), found = by("found");
    const apply = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const kinds = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
      let count = 0;
      for (const row of rows) {
        const head = row.querySelector(".row").textContent.toLowerCase();
        row.hidden = !(kinds.has(row.dataset.kind) && wanted.every((word) => head.includes(word)));
        count += !row.hidden;
      }
      found.value = count === rows.length ? "" : count + " of " + rows.length;
    };
    let waiting = 0;
    words.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 80); });
    boxes.forEach((box) => box.addEventListener("change", apply));
    by("filter").hidden = false;
    by("open").addEventListener("click", () => {
      const shown = rows.filter((row) => !row.hidden).map((row) => row.querySelector("details")).filter(Boolean);
      const open = shown.some((one) => !one.open);
      shown.forEach((one) => { one.open = open; });
    });
  }
  show();
})();
