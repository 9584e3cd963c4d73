// Keys that both grids share.

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** (dx, dy) of an arrow key, or undefined for another key. */
export function stepOf(event) {
  return STEPS[event.key];
}

/** The cell where a key leads from `index` in a grid of rows and columns, or undefined for another key. */
export function goal(event, index, { rows, columns }) {
  const [x, y] = [index % columns, Math.floor(index / columns)];
  if (event.key === "Home") return event.ctrlKey ? 0 : y * columns;
  if (event.key === "End") return event.ctrlKey ? rows * columns - 1 : (y + 1) * columns - 1;
  const step = stepOf(event);
  if (!step) return undefined;
  const goalX = Math.min(Math.max(x + step[0], 0), columns - 1);
  const goalY = Math.min(Math.max(y + step[1], 0), rows - 1);
  return goalY * columns + goalX;
}

export function isEnter(event) {
  return event.key === "Enter" || event.key === " ";
}
