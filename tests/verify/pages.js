// What tests/verify/pages.py asks of a page: functions that only look, or do what a reader would do.
const asked = {
  look() {
    const root = document.documentElement;
    const words = "h1, h2, h3, p, th, td, figcaption, dd, dt, li, summary, code";
    const shown = [...document.querySelectorAll(words)].filter(e => e.textContent.trim() && e.getClientRects().length);
    const contrasts = shown.map(e => [contrast(e), `${e.tagName}: ${e.textContent.trim().slice(0, 40)}`]);
    return {
      wide: root.scrollWidth - root.clientWidth,
      least: contrasts.reduce((one, other) => (other[0] < one[0] ? other : one), [99, ""]),
      ground: getComputedStyle(document.body).backgroundColor,
      pictures: [...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt.trim().length > 0]),
      charts: [...document.querySelectorAll("svg:not([aria-hidden])")].filter(s => !s.getAttribute("aria-label")).length,
    };
  },

  // Every heading is clicked twice: [table, column, numeric, rows before, after one click, after another].
  sort() {
    const found = [];
    [...document.querySelectorAll("table.sortable")].forEach((table, number) => {
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        if (head.classList.contains("drawn")) return;
        const rows = () => [...table.tBodies[0].rows].map(
          row => [row.cells[column].dataset.v ?? null, row.cells[column].textContent, row.textContent]);
        const seen = [rows()];
        for (const _ of [1, 2]) {
          head.querySelector("button").click();
          seen.push(rows());
        }
        found.push([number, column, head.classList.contains("n"), ...seen]);
      });
    });
    return found;
  },

  kinds() {
    return [...document.querySelectorAll(".controls input[type=checkbox]")].map(box => box.value);
  },

  // Rows that can be filtered: [kind, text, whether it is seen].
  rows() {
    return [...document.querySelectorAll("tr[data-kind]")].map(
      row => [row.dataset.kind, row.textContent.toLowerCase(), !row.hidden]);
  },

  search(words) {
    const box = document.querySelector(".controls [type=search]");
    box.value = words;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    return asked.rows();
  },

  tick(kind) {
    document.querySelector(`.controls input[value=${JSON.stringify(kind)}]`).click();
    return asked.rows();
  },

  printed() {
    return {
      "scrolling tables": [...document.querySelectorAll(".board")].filter(b => b.scrollHeight > b.clientHeight + 1).length,
      controls: [...document.querySelectorAll(".controls")].filter(c => c.getClientRects().length).length,
    };
  },
};

// Ratio of luminances of an element's letters and of what lies behind them, after WCAG 2.2; 99 where it cannot be told.
function contrast(element) {
  const ground = behind(element);
  if (!ground) return 99;
  const [one, other] = [luminance(numbers(getComputedStyle(element).color)), luminance(ground)];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}

function behind(element) {
  for (let each = element; each; each = each.parentElement) {
    const colour = getComputedStyle(each).backgroundColor;
    if (!colour.startsWith("rgb")) return null;
    if (!/, 0\)$/.test(colour)) return numbers(colour);
  }
  return [255, 255, 255];
}

function numbers(colour) {
  return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}

function luminance(colour) {
  const linear = colour.map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}
