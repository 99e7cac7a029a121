// Speaks to the service; every failure becomes one sentence to show.

/** What went wrong: `status` 0 is a service that does not answer. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Ask the API and return its answer as an object, or null if it has none.
 * A session that has ended raises the event "tuner:logged-out" on the window as well.
 */
export async function call(method, path, body = undefined) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Tuner"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method, headers, credentials: "same-origin", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, "The service does not answer. Is it running, and is the tunnel to it open?");
  }
  const text = await answer.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { /* told below */ }
  if (answer.ok) return value;
  if (answer.status === 401 && path !== "/session") {
    window.dispatchEvent(new CustomEvent("tuner:logged-out"));
  }
  throw new ApiError(answer.status, value?.error ?? `The service answered with status ${answer.status}.`);
}

/** Return a job's address under the API. */
export function jobPath(id, rest = "") {
  return `/jobs/${encodeURIComponent(id)}${rest}`;
}
