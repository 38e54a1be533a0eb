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

function zoom(image) {
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
  image.classList.add("zoomable");
  image.title = "Click to enlarge; then zoom with the wheel and drag";
  image.addEventListener("click", () => zoom(image));
}
