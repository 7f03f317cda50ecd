"use strict";
const list = document.getElementById("list");
const rows = Array.from(list.children);
const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
const count = document.getElementById("count");
const search = document.getElementById("search");
const columns = Array.from(document.querySelectorAll("[data-by]"));

function filter() {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !wanted.every((word) => words.get(row).includes(word));
    shown += row.hidden ? 0 : 1;
  }
  count.textContent = `${shown} of ${rows.length}`;
}

function sort(button) {
  const by = button.dataset.by;
  const down = button.getAttribute("aria-pressed") === "true" && button.dataset.way !== "down";
  for (const other of columns) {
    other.setAttribute("aria-pressed", String(other === button));
    other.textContent = other.textContent.replace(/ [↑↓]$/, "");
  }
  button.dataset.way = down ? "down" : "up";
  button.textContent += down ? " ↓" : " ↑";
  const numbers = by !== "intent" && by !== "source";
  const order = (a, b) => {
    const [x, y] = [a.dataset[by], b.dataset[by]];
    const way = numbers ? Number(x) - Number(y) : x < y ? -1 : x > y ? 1 : 0;
    return (down ? -way : way) || Number(a.dataset.number) - Number(b.dataset.number);
  };
  list.append(...rows.slice().sort(order));
}

function openAll(open) {
  for (const row of rows) if (!row.hidden) row.open = open;
}

search.addEventListener("input", filter);
columns.forEach((button) => button.addEventListener("click", () => sort(button)));
document.getElementById("open").addEventListener("click", () => openAll(true));
document.getElementById("close").addEventListener("click", () => openAll(false));
window.addEventListener("beforeprint", () => openAll(true));
