/* Sorting and filtering of tables, tooltips, the theme, and the current section in the page bar. */

/* tables */

function sortTable(heading, button) {
  const table = heading.closest("table");
  const current = heading.getAttribute("aria-sort");
  const opposite = current === "ascending" ? "descending" : "ascending";
  const direction = current ? opposite : button.dataset.first;
  table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", direction);
  const isText = heading.dataset.kind === "text";
  const sign = direction === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.querySelectorAll("tr[data-row]")];
    const valueOf = (row) => row.cells[heading.cellIndex].dataset.value;
    /* rows without a value come last in both directions */
    rows.sort((rowA, rowB) => {
      const [a, b] = [valueOf(rowA), valueOf(rowB)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (isText ? a.localeCompare(b) : Number(a) - Number(b));
    });
    body.append(...rows);
  }
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => sortTable(button.closest("th"), button));
}

function filterTable(form) {
  const table = document.getElementById(form.dataset.for);
  const rows = [...table.querySelectorAll("tr[data-row]")];
  const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const selects = [...form.querySelectorAll("select")].filter((select) => select.value !== "*");
  for (const row of rows) {
    const matches = words.every((word) => row.dataset.search.includes(word))
      && selects.every((select) => row.dataset[select.name] === select.value)
      && (!form.elements.own?.checked || "own" in row.dataset);
    row.hidden = !matches;
  }
  for (const title of table.querySelectorAll("tr.group-title")) {
    title.hidden = !title.parentElement.querySelector("tr[data-row]:not([hidden])");
  }
  const visibleCount = rows.filter((row) => !row.hidden).length;
  form.querySelector("output").value = `${visibleCount} of ${rows.length} backbones`;
}

for (const form of document.querySelectorAll(".filters")) {
  form.hidden = false;
  form.addEventListener("input", () => filterTable(form));
  form.addEventListener("submit", (event) => event.preventDefault());
  filterTable(form);
}

/* tooltips; the backbone under the pointer is highlighted in every figure */

const tooltip = document.getElementById("tooltip");

/* the element that the tooltip describes, and the position of the pointer */
let tooltipAnchor = null;

function showTooltip(target, x, y) {
  tooltipAnchor = { target, x, y };
  tooltip.textContent = target.dataset.tip;
  tooltip.hidden = false;
  tooltip.style.left = tooltip.style.top = "0";
  const { width, height } = tooltip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth - 8 ? x - width - 14 : x + 14;
  const top = y + 14 + height > innerHeight - 8 ? y - height - 14 : y + 14;
  tooltip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  tooltip.style.top = `${Math.max(8, top)}px`;
  highlightBackbone(target.closest(".mark, .dot")?.dataset.backbone);
}

function hideTooltip() {
  tooltip.hidden = true;
  highlightBackbone();
}

function highlightBackbone(index) {
  document.querySelectorAll(".highlighted").forEach((element) => element.classList.remove("highlighted"));
  if (index === undefined) return;
  const selector = `.mark[data-backbone="${index}"], .dot[data-backbone="${index}"]`;
  document.querySelectorAll(selector).forEach((element) => element.classList.add("highlighted"));
}

document.addEventListener("pointerover", (event) => {
  const target = event.target.closest("[data-tip]");
  if (target) showTooltip(target, event.clientX, event.clientY);
  else hideTooltip();
});
document.addEventListener("pointermove", (event) => {
  const target = event.target.closest("[data-tip]");
  if (target) showTooltip(target, event.clientX, event.clientY);
});
document.addEventListener("scroll", () => {
  if (tooltip.hidden) return;
  const { target, x, y } = tooltipAnchor;
  if (!target.contains(document.elementFromPoint(x, y))) hideTooltip();
}, { capture: true, passive: true });
document.addEventListener("focusin", (event) => {
  if (!event.target.matches("[data-tip]:focus-visible")) return;
  const box = event.target.getBoundingClientRect();
  showTooltip(event.target, box.left, box.bottom);
});
document.addEventListener("focusout", hideTooltip);

/* the left and right arrow keys step through the marks of a figure; Escape hides the tooltip */
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTooltip();
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const plot = event.target.closest(".plot svg");
  if (!step || !plot) return;
  event.preventDefault();
  const leftOf = (element) => element.getBoundingClientRect().x;
  const marks = [...plot.querySelectorAll(".mark")].sort((a, b) => leftOf(a) - leftOf(b));
  const currentIndex = marks.findIndex((mark) => mark.dataset.backbone === plot.dataset.current);
  const mark = marks[(currentIndex + step + marks.length) % marks.length];
  plot.dataset.current = mark.dataset.backbone;
  const box = mark.getBoundingClientRect();
  showTooltip(mark, box.right, box.bottom);
});

/* theme: stored if the browser allows a local file to store anything */

const themeButton = document.getElementById("theme");
const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
  || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);

function loadTheme() {
  try {
    return localStorage.getItem("bob-theme");
  } catch {
    return null;
  }
}

function storeTheme(name) {
  try {
    localStorage.setItem("bob-theme", name);
  } catch {
    /* the theme then lasts until the page is closed */
  }
}

function applyTheme(name) {
  if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Change to the ${isDark() ? "light" : "dark"} theme`);
}

themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  const name = isDark() ? "light" : "dark";
  storeTheme(name);
  applyTheme(name);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => applyTheme());
applyTheme(loadTheme());

/* the page bar marks the section in view */

const links = new Map([...document.querySelectorAll(".page-bar a")].map((link) => [link.hash.slice(1), link]));
const sections = [...links.keys()].map((id) => document.getElementById(id));

function markCurrentSection() {
  const atEnd = scrollY > 0 && scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  const passed = atEnd ? sections : sections.filter((section) => section.getBoundingClientRect().top < 120);
  const current = links.get((passed.at(-1) ?? sections[0]).id);
  if (current.hasAttribute("aria-current")) return;
  links.forEach((link) => link.toggleAttribute("aria-current", link === current));
  const navigation = current.closest("nav");
  navigation.scrollLeft = current.offsetLeft - navigation.clientWidth / 3;
}
document.addEventListener("scroll", markCurrentSection, { passive: true });
markCurrentSection();

/* folded parts are opened for printing */

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));

startFigures();
