// The calls of the service that the page makes, as any client would make them. Addresses are relative, so
// that the page also works behind a proxy that adds a prefix.

const KEY = "kohonen-api-key";
let model = "";

/** A call that failed, with a message to show as it is; status 0 where there was no reply. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Send this API key from now on, until the tab is closed. */
export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Name this model in each call; "" leaves the choice to the service. */
export function useModel(name) {
  model = name;
}

export async function fetchModels() {
  return (await (await call("models")).json()).models;
}

/** The picture of the map of `level`; of a model with one level it is not named. */
export async function fetchMap(level) {
  return (await call(ofModel("map.png", level ? { level } : {}))).blob();
}

export async function fetchExample() {
  return (await call("page/example.webp")).blob();
}

/** What POST /encode gives of an image file: `{tokens, model, codebook_hash}`, or `tokens_LEVEL` of each level. */
export async function encode(file) {
  const headers = { "Content-Type": file.type || "application/octet-stream", Accept: "application/json" };
  return (await call(ofModel("encode"), { method: "POST", headers, body: file })).json();
}

/** The PNG of such an object as JSON, of which the last two may be missing. */
export async function decode(body) {
  const headers = { "Content-Type": "application/json", Accept: "image/png" };
  return (await call(ofModel("decode"), { method: "POST", headers, body })).blob();
}

/**
 * `work` with at most one call under way: of the calls made meanwhile only the last is carried out.
 * Whoever drags a brush or a slider asks faster than any service should be asked.
 */
export function latestOnly(work) {
  let isRunning = false;
  let next = null;
  return async (argument) => {
    next = { argument };
    if (isRunning) return;
    isRunning = true;
    try {
      while (next) {
        const { argument: current } = next;
        next = null;
        await work(current);
      }
    } finally {
      isRunning = false;
    }
  };
}

function ofModel(path, others = {}) {
  const parameters = new URLSearchParams(model ? { model, ...others } : others);
  return parameters.size ? `${path}?${parameters}` : path;
}

async function call(url, { headers, ...options } = {}) {
  const key = sessionStorage.getItem(KEY);
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  let reply;
  try {
    reply = await fetch(url, { ...options, headers: { ...headers, ...authorization } });
  } catch {
    throw new ApiError("The service does not answer; see whether it runs.", 0);
  }
  if (!reply.ok) throw new ApiError(await messageOf(reply), reply.status);
  return reply;
}

async function messageOf(reply) {
  try {
    return (await reply.json()).error.message;
  } catch {
    // Not the service but a proxy before it has answered.
    return `The service answers ${reply.status} ${reply.statusText}.`;
  }
}
