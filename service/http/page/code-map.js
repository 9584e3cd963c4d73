// The map of codes: token k lies at x = k % columns, y = floor(k / columns); a 1-D map is one row.
// Places, distances and moves follow from that, so none of them costs a request.

/** Euclidean distance on the map that still counts as near: the eight around. */
export const RADIUS = 1.5;

export class CodeMap {
  /** `shape` is [rows, columns], or [K]. */
  constructor(shape) {
    [this.columns, this.rows = 1] = shape.toReversed();
    this.size = this.rows * this.columns;
  }

  place(token) {
    return [token % this.columns, Math.floor(token / this.columns)];
  }

  /** The token at (x, y), or the nearest one to a place beyond the edge (edge rule "clamp"). */
  tokenAt(x, y) {
    return clamp(y, this.rows) * this.columns + clamp(x, this.columns);
  }

  /** The token that lies (dx, dy) further, as POST /perturb with edge "clamp" moves it. */
  move(token, dx, dy) {
    const [x, y] = this.place(token);
    return this.tokenAt(x + dx, y + dy);
  }

  distance(token, other) {
    const [x, y] = this.place(token);
    const [otherX, otherY] = this.place(other);
    return Math.hypot(x - otherX, y - otherY);
  }

  /** `token` and every token within RADIUS of it, in ascending order. */
  around(token) {
    const [x, y] = this.place(token);
    const near = [];
    for (let nearY = Math.max(0, y - 1); nearY <= Math.min(this.rows - 1, y + 1); nearY++) {
      for (let nearX = Math.max(0, x - 1); nearX <= Math.min(this.columns - 1, x + 1); nearX++) {
        near.push(this.tokenAt(nearX, nearY));
      }
    }
    return near.filter((other) => this.distance(token, other) <= RADIUS);
  }

  /**
   * The color of a place: hue along x, lightness along y, in OKLCH, where steps of equal size look equal.
   * Hues stop before they come round, and chroma falls off where sRGB has less of it.
   */
  color(token) {
    const [x, y] = this.place(token);
    const lightness = this.lightness(token);
    const chroma = 0.115 - 0.16 * Math.abs(lightness - 0.66);
    const hue = 10 + 300 * fraction(x, this.columns);
    return `oklch(${lightness.toFixed(3)} ${chroma.toFixed(3)} ${hue.toFixed(1)})`;
  }

  lightness(token) {
    return 0.85 - 0.4 * fraction(this.place(token)[1], this.rows);
  }
}

/**
 * A permutation of 0 to size - 1 and its inverse, always the same: the map with its codes in random order,
 * which is what the order on the map is to be compared with.
 */
export function shuffle(size) {
  const order = Array.from({ length: size }, (_, index) => index);
  let random = 1;
  for (let last = size - 1; last > 0; last--) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((random / 2 ** 32) * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  const inverse = new Array(size);
  order.forEach((token, index) => (inverse[token] = index));
  return { order, inverse };
}

function clamp(value, count) {
  return Math.min(Math.max(value, 0), count - 1);
}

function fraction(index, count) {
  return count > 1 ? index / (count - 1) : 0.5;
}
