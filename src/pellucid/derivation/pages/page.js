"use strict";
(() => {
  const root = document.documentElement;
  const titles = JSON.parse(document.getElementById("titles").textContent);
  document.getElementById("language").addEventListener("click", () => {
    const next = root.dataset.language === "en" ? "zh" : "en";
    root.dataset.language = next;
    root.lang = next;
    document.title = titles[next];
  });
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const open = unfold.getAttribute("aria-pressed") !== "true";
    unfold.setAttribute("aria-pressed", String(open));
    for (const part of document.querySelectorAll("details")) part.open = open;
  });
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details.matters:not([open])")];
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
  const reveal = () => { // a link into a folded part unfolds it
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = target && target.parentElement; part; part = part.parentElement) if (part.localName === "details") part.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  const colour = (value, largest) => { // blue below zero, white at it, red above
    if (!Number.isFinite(value)) return [128, 128, 128];
    const t = largest ? Math.max(-1, Math.min(1, value / largest)) : 0;
    const end = t < 0 ? [33, 94, 160] : [178, 42, 30];
    return end.map((channel) => Math.round(250 + (channel - 250) * Math.abs(t)));
  };
  const draw = (button) => {
    const place = button.parentElement;
    if (place.querySelector("canvas")) {
      const shown = !place.querySelector("canvas").hidden;
      place.querySelector("canvas").hidden = shown;
      button.setAttribute("aria-expanded", String(!shown));
      return;
    }
    const bytes = Uint8Array.from(atob(button.dataset.numbers), (character) => character.charCodeAt(0));
    const numbers = new Float32Array(bytes.buffer);
    const [tiles, height, width] = button.dataset.shape.split(" ").map(Number);
    const columns = Math.max(1, Math.min(tiles, Math.floor(96 / (width + 1)) || 1)), lines = Math.ceil(tiles / columns);
    const canvas = document.createElement("canvas");
    canvas.width = columns * (width + 1) - 1;
    canvas.height = lines * (height + 1) - 1;
    const scale = Math.max(1, Math.min(28, Math.floor(640 / canvas.width)));
    canvas.style.width = canvas.width * scale + "px";
    const finite = numbers.filter(Number.isFinite);
    const largest = finite.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const context = canvas.getContext("2d");
    const at = (x, y) => {
      const tile = Math.floor(y / (height + 1)) * columns + Math.floor(x / (width + 1));
      const row = y % (height + 1), column = x % (width + 1);
      if (tile >= tiles || row >= height || column >= width) return null;
      return { tile, row, column, value: numbers[(tile * height + row) * width + column] };
    };
    const image = context.createImageData(canvas.width, canvas.height);
    for (let y = 0; y < canvas.height; y++) for (let x = 0; x < canvas.width; x++) {
      const entry = at(x, y);
      if (entry && entry.value !== undefined) image.data.set([...colour(entry.value, largest), 255], 4 * (y * canvas.width + x));
    }
    context.putImageData(image, 0, 0);
    const output = document.createElement("output");
    const range = "±" + largest.toPrecision(4);
    output.textContent = range;
    canvas.addEventListener("mousemove", (event) => {
      const entry = at(Math.floor(event.offsetX / canvas.clientWidth * canvas.width), Math.floor(event.offsetY / canvas.clientHeight * canvas.height));
      output.textContent = entry && entry.value !== undefined ? `[${entry.tile}, ${entry.row}, ${entry.column}] = ${entry.value.toPrecision(6)}` : range;
    });
    place.append(canvas, output);
    button.setAttribute("aria-expanded", "true");
  };
  addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button[data-numbers]");
    if (button) draw(button);
  });
})();
