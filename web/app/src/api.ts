import { headers } from "./session";

// Answer is what the API said, and the node that said it.
export interface Answer<T = unknown> { status: number; node: string; took: number; body: T }

export class ApiError extends Error {
  constructor(readonly status: number, message: string) { super(message); }
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
  // A browser resolves them, in whatever form: to leave the group ".." of a connection would be to close the connection.
  if (/(^|\/)\.\.?(\/|\?|$)/.test(path)) throw new ApiError(0, `No address can hold the name "." or ".."; use a batch.`);
  const began = performance.now();
  const answer = await fetch(path, {
    method, cache: "no-store",
    headers: { ...headers(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await answer.text();
  const took = performance.now() - began;
  let parsed: unknown = null;
  try { parsed = text ? JSON.parse(text) : null; } catch { parsed = text; }
  if (!answer.ok) {
    const told = (parsed as { message?: string } | null)?.message;
    throw new ApiError(answer.status, told ?? (text || answer.statusText));
  }
  return { status: answer.status, node: answer.headers.get("X-Hubstream-Node") ?? "", took, body: parsed as T };
}

export const part = encodeURIComponent;
