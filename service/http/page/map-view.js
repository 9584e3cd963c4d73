// The map as a picture of its codes or of its colors, with a token and its neighbors lit.

import { goal, isEnter } from "./keys.js";

const SHADE = [0, 0, 0, 150]; // RGBA over what is not lit

export class MapView {
  /** `on` has the functions to call: look(token or null) and pick(token). */
  constructor(on) {
    this.on = on;
    this.root = document.getElementById("map");
    this.picture = document.getElementById("map-picture");
    this.colors = document.getElementById("map-colors");
    this.shade = document.getElementById("map-shade");
    this.root.addEventListener("pointermove", (event) => on.look(this.#tokenUnder(event)));
    this.root.addEventListener("pointerleave", (event) => this.#leave(event));
    this.root.addEventListener("click", (event) => this.#click(event));
    this.root.addEventListener("focus", () => this.#hasFocus() && on.look(this.cursor));
    this.root.addEventListener("blur", () => on.look(null));
    this.root.addEventListener("keydown", (event) => this.#key(event));
    for (const radio of document.getElementsByName("show")) {
      radio.addEventListener("change", () => this.#choose(radio.value));
    }
  }

  /** Take another map; keys start at the code `cursor`. */
  build(map, cursor) {
    this.map = map;
    this.cursor = cursor;
    this.root.ariaRowCount = map.rows;
    this.root.ariaColCount = map.columns;
    const box = this.root.parentElement;
    box.style.setProperty("--columns", map.columns);
    box.style.setProperty("--rows", map.rows);
    for (const canvas of [this.colors, this.shade]) {
      // One pixel a code: the browser makes them large.
      canvas.width = map.columns;
      canvas.height = map.rows;
    }
    const context = this.colors.getContext("2d");
    for (let token = 0; token < map.size; token++) {
      context.fillStyle = map.color(token);
      context.fillRect(...map.place(token), 1, 1);
    }
  }

  /** Light the tokens `lit` around `current`, or the whole map where it is null, and mark the brush. */
  show(current, lit, brush) {
    this.#showShade(lit);
    // Only these are elements (a map may have thousands of codes), which ARIA allows in a grid whose rows
    // and columns are numbered.
    const tokens = [...new Set([...lit, brush])].sort((a, b) => a - b);
    const rows = new Map();
    for (const token of tokens) {
      const [x, y] = this.map.place(token);
      if (!rows.has(y)) rows.set(y, rowElement(y));
      const cell = this.#cellElement(token, { x, y, brush });
      cell.classList.toggle("lit", lit.has(token));
      cell.classList.toggle("current", token === current);
      rows.get(y).append(cell);
    }
    this.root.replaceChildren(...rows.values());
    if (current === null) this.root.removeAttribute("aria-activedescendant");
    else this.root.setAttribute("aria-activedescendant", `code-${current}`);
  }

  #cellElement(token, { x, y, brush }) {
    const cell = document.createElement("div");
    cell.role = "gridcell";
    cell.id = `code-${token}`;
    cell.dataset.token = token;
    cell.ariaColIndex = x + 1;
    cell.ariaSelected = token === brush;
    const distance = this.map.distance(token, brush).toFixed(1);
    cell.ariaLabel = `Token ${token}, x ${x}, y ${y}, ${distance} from the brush`;
    cell.style.left = `${(100 * x) / this.map.columns}%`;
    cell.style.top = `${(100 * y) / this.map.rows}%`;
    return cell;
  }

  #showShade(lit) {
    const context = this.shade.getContext("2d");
    const pixels = context.createImageData(this.map.columns, this.map.rows);
    if (lit.size) {
      for (let token = 0; token < this.map.size; token++) {
        if (!lit.has(token)) pixels.data.set(SHADE, 4 * token);
      }
    }
    context.putImageData(pixels, 0, 0);
  }

  #tokenUnder(event) {
    const box = this.root.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.map.columns);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.map.rows);
    return this.map.tokenAt(x, y);
  }

  #hasFocus() {
    // After a click the pointer leads; a ring and a cursor are for those who use keys.
    return this.root.matches(":focus-visible");
  }

  #leave(event) {
    // A finger leaves at once; what it touched stays lit until something else is.
    if (event.pointerType !== "touch") this.on.look(this.#hasFocus() ? this.cursor : null);
  }

  #click(event) {
    const token = this.#tokenUnder(event);
    this.on.look(token);
    this.#pick(token);
  }

  #pick(token) {
    this.cursor = token;
    this.on.pick(token);
  }

  #key(event) {
    const next = goal(event, this.cursor, this.map);
    if (next !== undefined) {
      this.cursor = next;
      this.on.look(next);
    } else if (isEnter(event)) this.#pick(this.cursor);
    else return;
    event.preventDefault();
  }

  #choose(what) {
    this.picture.hidden = what !== "codes";
    this.colors.hidden = what !== "colors";
  }
}

function rowElement(y) {
  const row = document.createElement("div");
  row.role = "row";
  row.ariaRowIndex = y + 1;
  return row;
}
