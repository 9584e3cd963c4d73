// The grid of an image's tokens: colored by place on the map, painted with the mouse, a finger or keys.

import { goal, isEnter, stepOf } from "./keys.js";

// Digits that fit side by side into the narrowest grid; more tokens, or longer ones, are colors only.
const MAX_DIGITS = 32;
const DARK_INK_FROM = 0.57; // lightness from which black is the more legible ink

export class TokenGrid {
  /**
   * `on` has the functions to call: look(cell or null), paint(cell, isDrag), pick(cell), nudge(cell, dx, dy)
   * and lift(), when a drag ends.
   */
  constructor(on) {
    const root = document.getElementById("tokens");
    this.root = root;
    this.on = on;
    this.cells = [];
    root.addEventListener("pointerover", (event) => this.#enter(event));
    root.addEventListener("pointerleave", (event) => this.#leave(event));
    root.addEventListener("pointerdown", (event) => this.#press(event));
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("focusin", (event) => this.#focus(event));
    root.addEventListener("focusout", () => on.look(null));
    root.addEventListener("keydown", (event) => this.#key(event));
    addEventListener("pointerup", () => on.lift());
  }

  /** Make cells for `rows` x `columns` tokens of a codebook of `size`. */
  build(rows, columns, size) {
    this.shape = { rows, columns };
    this.root.style.setProperty("--columns", columns);
    this.root.classList.toggle("numbered", columns * String(size - 1).length <= MAX_DIGITS);
    this.root.replaceChildren();
    this.cells = [];
    for (let y = 0; y < rows; y++) {
      const row = this.root.appendChild(document.createElement("div"));
      row.role = "row";
      for (let x = 0; x < columns; x++) {
        const cell = row.appendChild(document.createElement("div"));
        cell.role = "gridcell";
        cell.tabIndex = this.cells.length ? -1 : 0;
        this.cells.push(cell);
      }
    }
  }

  /** Show `tokens`, a flat array, with those in `lit` marked as near. */
  show(tokens, map, lit) {
    this.cells.forEach((cell, index) => {
      const token = tokens[index];
      if (cell.dataset.token !== String(token)) {
        const [x, y] = map.place(token);
        const [column, row] = [index % this.shape.columns, Math.floor(index / this.shape.columns)];
        cell.dataset.token = cell.textContent = token;
        cell.style.backgroundColor = map.color(token);
        cell.classList.toggle("dark-ink", map.lightness(token) >= DARK_INK_FROM);
        cell.ariaLabel = `Row ${row + 1}, column ${column + 1}: token ${token}, on the map x ${x}, y ${y}`;
      }
      cell.classList.toggle("lit", lit.has(token));
    });
  }

  #cellOf(element) {
    const index = this.cells.indexOf(element);
    return index < 0 ? null : index;
  }

  #enter(event) {
    const cell = this.#cellOf(event.target);
    if (cell === null || event.pointerType === "touch") return;
    this.on.look(cell);
    if (event.buttons & 1 && !event.altKey) this.on.paint(cell, true);
  }

  #leave(event) {
    // A finger leaves at once; what it touched stays lit until something else is.
    if (event.pointerType === "touch") return;
    this.on.look(this.#cellOf(this.root.querySelector(":focus-visible")));
  }

  #press(event) {
    const cell = this.#cellOf(event.target);
    // A finger may be about to scroll: it paints with the click.
    if (cell === null || event.button !== 0 || event.altKey || event.pointerType === "touch") return;
    this.on.paint(cell, true);
  }

  #click(event) {
    const cell = this.#cellOf(event.target);
    if (cell === null) return;
    if (event.altKey) this.on.pick(cell);
    else this.on.paint(cell, false); // changes nothing where pressing has painted already
  }

  #focus(event) {
    const cell = this.#cellOf(event.target);
    for (const other of this.cells) other.tabIndex = -1;
    event.target.tabIndex = 0;
    this.on.look(cell);
  }

  #key(event) {
    const cell = this.#cellOf(event.target);
    const step = stepOf(event);
    const next = goal(event, cell, this.shape);
    if (event.shiftKey && step) this.on.nudge(cell, ...step);
    else if (next !== undefined) this.cells[next].focus();
    else if (isEnter(event)) this.on.paint(cell, false);
    else if (event.key === "p" && !event.ctrlKey && !event.metaKey) this.on.pick(cell);
    else return;
    event.preventDefault();
  }
}
