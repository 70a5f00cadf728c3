// Sliders that are unset until somebody moves them, and unset again by a double click or the key Delete.

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const percent = (value) => `${Math.round(100 * value)}%`;

// value: null where it is unset; rest: says where the slider then stands; unset: the word for that. The row has `show`.
export function dial({ label, name, value, rest, unset, changed }) {
  const row = make("label", "dial");
  const input = make("input");
  const shown = make("output");
  Object.assign(input, { type: "range", min: "0", max: "100", step: "5", title: "Delete puts it back" });
  input.setAttribute("aria-label", name);
  const show = () => {
    row.classList.toggle("unset", value === null);
    input.value = String(Math.round(100 * (value ?? rest())));
    shown.textContent = value === null ? unset : percent(value);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { value = Number(input.value) / 100; show(); });
  input.addEventListener("change", () => changed(value));
  const put = (event) => {
    if (event.type === "keydown" && event.key !== "Delete" && event.key !== "Backspace") return;
    event.preventDefault();
    value = null;
    show();
    changed(value);
  };
  input.addEventListener("dblclick", put);
  input.addEventListener("keydown", put);
  row.append(make("span", "", label), input, shown);
  row.show = show;
  show();
  return row;
}
