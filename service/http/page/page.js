// The page's state and how its parts act on it.

import * as api from "./api.js";
import { showCode } from "./code-panel.js";
import { CodeMap, shuffle } from "./code-map.js";
import { takeIn } from "./intake.js";
import { MapView } from "./map-view.js";
import { TokenGrid } from "./token-grid.js";

const MAX_OFFSET = 8;
const RETRY_MS = 1000;

const element = (id) => document.getElementById(id);
const sliders = { dx: element("dx"), dy: element("dy") };

let card = null; // of the model, as GET /models gives it
let level = null; // of the card: whose tokens and map are shown
let identity = null; // what the service says of the model with its tokens
let map = null;
let random = null; // the map in random order
let source = null; // the image file that was encoded last
let brush = 0;
let pointed = null; // what the pointer or the focus is on: {cell}, {token} or null

// What undo brings back. `tokens` has those of each level, flat, by its name; those of the level that is shown
// are moved by (dx, dy).
let state = { tokens: {}, dx: 0, dy: 0, isShuffled: false };
let past = [];
let gesture = null; // edits of one drag are one step of undo
let decoded = ""; // the tokens that were sent last, as JSON

const grid = new TokenGrid({
  look: (cell) => look(cell === null ? null : { cell }),
  paint: (cell, isDrag) => setToken(cell, brush, isDrag ? "stroke" : null),
  pick: (cell) => setBrush(moved()[cell]),
  nudge: (cell, dx, dy) => setToken(cell, map.move(moved()[cell], dx, dy)),
  lift: () => (gesture = null),
});
const mapView = new MapView({
  look: (token) => look(token === null ? null : { token }),
  pick: setBrush,
});

/** The tokens that are shown. */
function moved() {
  const { dx, dy, isShuffled } = state;
  const tokens = state.tokens[level.name] ?? [];
  if (!isShuffled) return tokens.map((token) => map.move(token, dx, dy));
  return tokens.map((token) => random.order[map.move(random.inverse[token], dx, dy)]);
}

/** Those of each level, by its name, as they are shown and decoded. */
function allMoved() {
  return { ...state.tokens, [level.name]: moved() };
}

function edit(changes, name = null) {
  if (name === null || name !== gesture) past.push(state);
  gesture = name;
  state = { ...state, ...changes };
  render();
}

/** Painting is on what is shown: the move so far becomes part of the tokens. */
function setToken(cell, token, name = null) {
  const tokens = moved();
  if (tokens[cell] === token) return;
  tokens[cell] = token;
  edit({ tokens: { ...state.tokens, [level.name]: tokens }, dx: 0, dy: 0 }, name);
}

function setBrush(token) {
  brush = token;
  render();
}

function look(at) {
  if (at?.cell === pointed?.cell && at?.token === pointed?.token) return;
  pointed = at;
  render();
}

function undo() {
  if (!past.length) return;
  state = past.pop();
  gesture = null;
  render();
}

/** Begin anew with the `tokens` of each level, or with none. */
function start(tokens) {
  const { latent_grid: [rows, columns], codebook_size: size } = level;
  const count = tokens[level.name]?.length ?? 0;
  if (grid.cells.length !== count) grid.build(count ? rows : 0, columns, size);
  state = { tokens, dx: 0, dy: 0, isShuffled: false };
  past = [];
  decoded = "";
  render();
}

function render() {
  if (!map) return;
  const tokens = moved();
  const current = pointed?.token ?? tokens[pointed?.cell] ?? null;
  const lit = new Set(current === null ? [] : map.around(current));
  grid.show(tokens, map, lit);
  mapView.show(current, lit, brush);
  showCode(current ?? brush, { map, picture: mapView.picture, tokens, brush });
  for (const [name, slider] of Object.entries(sliders)) {
    slider.value = state[name];
    slider.nextElementSibling.textContent = state[name];
  }
  element("shuffled").checked = state.isShuffled;
  element("undo").disabled = !past.length;
  element("undo-count").textContent = past.length;
  if (!tokens.length) return;
  const content = asJson();
  if (content !== decoded) {
    decoded = content;
    element("decoded").setAttribute("aria-busy", "true");
    decodeLatest(content);
  }
}

const decodeLatest = api.latestOnly((content) =>
  attempt(async () => {
    if (content !== decoded) return; // of the model before
    const started = performance.now();
    const image = await api.decode(content);
    say(`${Math.round(performance.now() - started)} ms`);
    if (content === decoded) await showBlob(element("decoded"), image);
  }).finally(() => element("decoded").setAttribute("aria-busy", String(content !== decoded))),
);

const encodeLatest = api.latestOnly((file) =>
  attempt(async () => {
    say("Encoding…");
    const asked = card;
    const content = await api.encode(file);
    if (card !== asked) return; // another model was chosen meanwhile
    source = file;
    identity = { model: content.model, codebook_hash: content.codebook_hash };
    await showBlob(element("image"), file);
    element("image").hidden = false;
    start(tokensIn(content));
  }),
);

/** Tokens as JSON, of this page or of the API. The API judges them: it knows what it can decode. */
async function loadTokens(text) {
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error("These are no tokens: the text is not JSON. Load what Copy, Save or POST /encode gives.");
  }
  await api.decode(text);
  element("image").hidden = true;
  start(tokensIn(content));
}

/** What the API calls the tokens of `one` of the levels. */
function fieldOf({ name }) {
  return card.levels.length === 1 || name === "tokens" ? "tokens" : `tokens_${name}`;
}

function tokensIn(content) {
  return Object.fromEntries(card.levels.map((one) => [one.name, content[fieldOf(one)].flat(Infinity)]));
}

function asJson() {
  const tokens = allMoved();
  const fields = card.levels.map((one) => [fieldOf(one), rowsOf(tokens[one.name], one.latent_grid)]);
  return JSON.stringify({ ...Object.fromEntries(fields), ...identity });
}

function rowsOf(tokens, [rows, columns]) {
  return Array.from({ length: rows }, (_, y) => tokens.slice(y * columns, (y + 1) * columns));
}

async function showBlob(image, blob) {
  const previous = image.src;
  image.src = URL.createObjectURL(blob);
  URL.revokeObjectURL(previous);
  await image.decode();
}

async function copyTokens() {
  if (!navigator.clipboard) throw new Error("The browser lets only pages on https or localhost copy; use Save.");
  await navigator.clipboard.writeText(asJson());
  say("Copied");
}

function saveTokens() {
  const link = document.createElement("a");
  link.href = `data:application/json,${encodeURIComponent(asJson())}`;
  link.download = "tokens.json";
  link.click();
}

async function encodeExample() {
  encodeLatest(await api.fetchExample());
}

/** Do `work`, and tell the user where it fails. */
async function attempt(work) {
  element("error").hidden = true;
  try {
    await work();
  } catch (error) {
    say("");
    element("error").textContent = error.message;
    element("error").hidden = false;
    if (error.status === 401) {
      element("key-form").hidden = false;
      element("key").focus();
    }
    if (error.status === 503 && !map) setTimeout(() => attempt(open), RETRY_MS);
  }
}

function say(text) {
  element("status").textContent = text;
}

/** Learn what is served, and begin with the example. */
async function open() {
  const models = await api.fetchModels();
  if (!models.length) throw new api.ApiError("The model warms up; this page waits for it.", 503);
  element("model").replaceChildren(...models.map(({ name }) => new Option(name)));
  element("model-choice").hidden = models.length < 2;
  element("model-name").textContent = models.length < 2 ? models[0].name : "";
  await openModel(models[0], models.length > 1);
  element("model").onchange = (event) => {
    const chosen = models[event.target.selectedIndex];
    attempt(() => openModel(chosen, true));
  };
}

async function openModel(chosen, isOneOfSeveral) {
  api.useModel(isOneOfSeveral ? chosen.name : "");
  await openLevel(chosen.levels[0], chosen);
  element("main").style.setProperty("--aspect", card.image.width / card.image.height);
  element("level").replaceChildren(...card.levels.map(({ name }) => new Option(name)));
  element("level-choice").hidden = card.levels.length < 2;
  if (source) encodeLatest(source);
  else await encodeExample();
}

/** Show the tokens and the map of another level. Of the same model all tokens stay; undo begins anew. */
async function openLevel(chosen, model = card) {
  await showBlob(mapView.picture, await api.fetchMap(model.levels.length > 1 ? chosen.name : ""));
  const tokens = model === card ? allMoved() : {};
  card = model;
  level = chosen;
  const { latent_grid: [rows, columns], map_shape: shape, codebook_size: size } = level;
  map = new CodeMap(shape);
  random = shuffle(size);
  brush = map.tokenAt(Math.floor(map.columns / 2), Math.floor(map.rows / 2));
  pointed = null;
  element("tokens-size").textContent = `${rows} × ${columns}`;
  element("map-size").textContent = `${size} codes, ${map.rows} × ${map.columns}`;
  sliders.dx.max = Math.min(MAX_OFFSET, map.columns - 1);
  sliders.dy.max = Math.min(MAX_OFFSET, map.rows - 1);
  for (const slider of Object.values(sliders)) slider.min = -slider.max;
  mapView.build(map, brush);
  grid.build(0, 0, size);
  start(tokens);
}

for (const [name, slider] of Object.entries(sliders)) {
  slider.addEventListener("input", () => edit({ [name]: slider.valueAsNumber }, name));
  slider.addEventListener("change", () => (gesture = null));
}
element("shuffled").addEventListener("change", (event) => edit({ isShuffled: event.target.checked }));
element("level").addEventListener("change", (event) => {
  const chosen = card.levels[event.target.selectedIndex];
  attempt(() => openLevel(chosen));
});
element("undo").addEventListener("click", undo);
element("copy").addEventListener("click", () => attempt(copyTokens));
element("save").addEventListener("click", saveTokens);
element("example").addEventListener("click", () => attempt(encodeExample));
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.useKey(element("key").value);
  event.target.reset();
  event.target.hidden = true;
  attempt(open);
});
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.target.matches("[type=password]")) {
    event.preventDefault();
    undo();
  }
});
takeIn({ image: encodeLatest, tokens: (text) => attempt(() => loadTokens(text)) });
attempt(open);
