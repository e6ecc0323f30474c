/* Tables that sort and filter, tooltips, the theme, and where in the page the reader is. */

/* tables */

function sortBy(head, button) {
  const table = head.closest("table");
  const now = head.getAttribute("aria-sort");
  const way = now ? (now === "ascending" ? "descending" : "ascending") : button.dataset.first;
  table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", way);
  const text = head.dataset.kind === "text";
  const sign = way === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.querySelectorAll("tr[data-row]")];
    const value = (row) => row.cells[head.cellIndex].dataset.v;
    /* what has no value comes last either way */
    rows.sort((a, b) => {
      const [u, v] = [value(a), value(b)];
      if (u === "" || v === "") return (u === "") - (v === "");
      return sign * (text ? u.localeCompare(v) : Number(u) - Number(v));
    });
    body.append(...rows);
  }
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th"), button));
}

function filter(form) {
  const table = document.getElementById(form.dataset.for);
  const rows = [...table.querySelectorAll("tr[data-row]")];
  const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const selects = [...form.querySelectorAll("select")].filter((select) => select.value !== "*");
  for (const row of rows) {
    const fits = words.every((word) => row.dataset.search.includes(word))
      && selects.every((select) => row.dataset[select.name] === select.value)
      && (!form.elements.own?.checked || "own" in row.dataset);
    row.hidden = !fits;
  }
  for (const heading of table.querySelectorAll("tr.apart")) {
    heading.hidden = !heading.parentElement.querySelector("tr[data-row]:not([hidden])");
  }
  const left = rows.filter((row) => !row.hidden).length;
  form.querySelector("output").value = `${left} of ${rows.length} backbones`;
}

for (const form of document.querySelectorAll(".filters")) {
  form.hidden = false;
  form.addEventListener("input", () => filter(form));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter(form);
}

/* tooltips, and the same backbone in every figure */

const tip = document.getElementById("tip");

/* what it is about, and where the pointer was */
let told = null;

function showTip(target, x, y) {
  told = { target, x, y };
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  tip.style.left = tip.style.top = "0";
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth - 8 ? x - width - 14 : x + 14;
  const top = y + 14 + height > innerHeight - 8 ? y - height - 14 : y + 14;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, top)}px`;
  light(target.closest(".mark, .dot")?.dataset.b);
}

function hideTip() {
  tip.hidden = true;
  light();
}

function light(b) {
  document.querySelectorAll(".hot").forEach((node) => node.classList.remove("hot"));
  if (b === undefined) return;
  document.querySelectorAll(`.mark[data-b="${b}"], .dot[data-b="${b}"]`).forEach((node) => node.classList.add("hot"));
}

document.addEventListener("pointerover", (event) => {
  const target = event.target.closest("[data-tip]");
  if (target) showTip(target, event.clientX, event.clientY);
  else hideTip();
});
document.addEventListener("pointermove", (event) => {
  const target = event.target.closest("[data-tip]");
  if (target) showTip(target, event.clientX, event.clientY);
});
document.addEventListener("scroll", () => {
  if (!tip.hidden && !told.target.contains(document.elementFromPoint(told.x, told.y))) hideTip();
}, { capture: true, passive: true });
document.addEventListener("focusin", (event) => {
  if (!event.target.matches("[data-tip]:focus-visible")) return;
  const box = event.target.getBoundingClientRect();
  showTip(event.target, box.left, box.bottom);
});
document.addEventListener("focusout", hideTip);

/* arrows step through the marks of a figure, Escape ends */
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const plot = event.target.closest(".plot svg");
  if (!step || !plot) return;
  event.preventDefault();
  const across = (node) => node.getBoundingClientRect().x;
  const marks = [...plot.querySelectorAll(".mark")].sort((a, b) => across(a) - across(b));
  const before = marks.findIndex((mark) => mark.dataset.b === plot.dataset.at);
  const mark = marks[(before + step + marks.length) % marks.length];
  plot.dataset.at = mark.dataset.b;
  const box = mark.getBoundingClientRect();
  showTip(mark, box.right, box.bottom);
});

/* theme: kept where the browser lets a file keep anything */

const theme = document.getElementById("theme");
const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);

function kept(value) {
  try {
    if (value) localStorage.setItem("bob-theme", value);
    return localStorage.getItem("bob-theme");
  } catch {
    return null;
  }
}

function paint(name) {
  if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
  theme.textContent = dark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", `Change to the ${dark() ? "light" : "dark"} theme`);
}

theme.hidden = false;
theme.addEventListener("click", () => {
  const next = dark() ? "light" : "dark";
  kept(next);
  paint(next);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
paint(kept());

/* the part of the page in view is marked in the bar */

const links = new Map([...document.querySelectorAll(".bar a")].map((a) => [a.hash.slice(1), a]));
const parts = [...links.keys()].map((id) => document.getElementById(id));

function follow() {
  const atEnd = scrollY > 0 && scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  const passed = atEnd ? parts : parts.filter((part) => part.getBoundingClientRect().top < 120);
  const current = links.get((passed.at(-1) ?? parts[0]).id);
  if (current.hasAttribute("aria-current")) return;
  links.forEach((link) => link.toggleAttribute("aria-current", link === current));
  const list = current.closest("nav");
  list.scrollLeft = current.offsetLeft - list.clientWidth / 3;
}
document.addEventListener("scroll", follow, { passive: true });
follow();

/* what is folded is printed */

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));

startFigures();
