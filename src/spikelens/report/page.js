"use strict";
// Everything here is an addition: without it, the page shows the same content.

function sortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const down = cell.ariaSort === "ascending";
      for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
      cell.ariaSort = down ? "descending" : "ascending";
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        const [m, n] = [Number.parseFloat(x), Number.parseFloat(y)];
        const order = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n;
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

function filterable(table) {
  const input = document.createElement("input");
  input.type = "search";
  input.className = "filter";
  input.placeholder = "Filter rows";
  input.setAttribute("aria-label", `Filter rows: ${table.caption.textContent}`);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  table.parentElement.before(input);
}

// The coordinate of a point at a fraction of an axis: a number with four digits, or the nearest name.
function valueAt(axis, fraction) {
  const [start, end] = axis.log ? axis.ends.map(Math.log) : axis.ends;
  const at = start + fraction * (end - start);
  if (!axis.names.length) return Number((axis.log ? Math.exp(at) : at).toPrecision(4)).toLocaleString("en");
  return axis.names.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a))[1];
}

// Show the coordinates below the pointer.
function readable(image, frames, parent) {
  const shown = document.createElement("output");
  shown.className = "values";
  shown.hidden = true;
  parent.append(shown);
  image.addEventListener("pointermove", (event) => {
    const place = image.getBoundingClientRect();
    const [x, y] = [(event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height];
    const frame = frames.find(({ box: [left, top, right, bottom] }) => left <= x && x <= right && top <= y && y <= bottom);
    shown.hidden = !frame;
    if (!frame) return;
    const [left, top, right, bottom] = frame.box;
    const values = [[frame.x, (x - left) / (right - left)], [frame.y, (bottom - y) / (bottom - top)]];
    shown.textContent = values.map(([axis, at]) => `${axis.label && !axis.names.length ? axis.label + ": " : ""}${valueAt(axis, at)}`).join(", ");
    const frameOf = parent.getBoundingClientRect();
    const [across, down] = [event.clientX - frameOf.left, event.clientY - frameOf.top];
    shown.style.left = `${Math.max(0, Math.min(across + 14, frameOf.width - shown.offsetWidth))}px`;
    shown.style.top = `${Math.max(0, down - 34)}px`;
  });
  image.addEventListener("pointerleave", () => { shown.hidden = true; });
}

function zoom(image, frames) {
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  dialog.setAttribute("aria-label", image.alt);
  const close = document.createElement("button");
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  const shown = new Image();
  shown.src = image.src;
  shown.alt = image.alt;
  shown.draggable = false;
  dialog.append(close, shown);
  readable(shown, frames, dialog);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  const ratio = image.naturalWidth / image.naturalHeight;
  const width = Math.min(dialog.clientWidth, dialog.clientHeight * ratio);
  shown.style.width = `${width}px`;
  let [scale, x, y] = [1, (dialog.clientWidth - width) / 2, (dialog.clientHeight - width / ratio) / 2];
  const place = () => { shown.style.transform = `translate(${x}px, ${y}px) scale(${scale})`; };
  place();
  dialog.addEventListener("wheel", (event) => {
    event.preventDefault();
    const next = Math.min(20, Math.max(1, scale * Math.exp(-event.deltaY / 400)));
    x = event.clientX - (event.clientX - x) * next / scale;
    y = event.clientY - (event.clientY - y) * next / scale;
    scale = next;
    place();
  }, { passive: false });
  shown.addEventListener("pointerdown", (event) => shown.setPointerCapture(event.pointerId));
  shown.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    x += event.movementX;
    y += event.movementY;
    place();
  });
}

for (const table of document.querySelectorAll("table")) {
  sortable(table);
  if (table.tBodies[0].rows.length > 8) filterable(table);
}
for (const image of document.querySelectorAll("figure img")) {
  const frames = JSON.parse(image.dataset.frames);
  image.classList.add("zoomable");
  image.addEventListener("click", () => zoom(image, frames));
  readable(image, frames, image.parentElement);
}
