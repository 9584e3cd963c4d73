// What is known of one token: its code and those around it, decoded, and its numbers.

const element = (id) => document.getElementById(id);

/** Show `token` as the pointer's, the focus's or the brush's; `picture` is the loaded picture of the map. */
export function showCode(token, { map, picture, tokens, brush }) {
  const [x, y] = map.place(token);
  const count = tokens.filter((other) => other === token).length;
  element("code-token").textContent = token;
  element("code-role").textContent = token === brush ? "brush" : "";
  element("code-place").textContent = `x ${x}, y ${y}`;
  element("code-count").textContent = tokens.length ? `${count} of ${tokens.length}` : "";
  element("code-distance").textContent = map.distance(token, brush).toFixed(1);
  drawAround(token, { map, picture });
}

function drawAround(token, { map, picture }) {
  const canvas = element("code-picture");
  const width = picture.naturalWidth / map.columns;
  const height = picture.naturalHeight / map.rows;
  const [x, y] = map.place(token);
  canvas.width = 3 * width; // also clears it: beyond the edge of the map there is nothing
  canvas.height = 3 * height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, -(x - 1) * width, -(y - 1) * height);
  context.strokeStyle = "#fff";
  context.strokeRect(width + 0.5, height + 0.5, width - 1, height - 1);
}
