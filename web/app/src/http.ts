import { AbortError, HttpClient, HttpError, HttpResponse, TimeoutError, type HttpRequest } from "@microsoft/signalr";

// Seen is one request of the client, and the node that answered it.
export interface Seen { at: Date; kind: string; method: string; status: number; node: string; took: number }

function kindOf(request: HttpRequest): string {
  if (/\/negotiate(\?|$)/.test(request.url ?? "")) return "negotiate";
  return { GET: "poll", POST: "send", DELETE: "close" }[request.method ?? ""] ?? "request";
}

// SeeingClient is the client's own way to make requests, by fetch, that also reads which node answered.
export class SeeingClient extends HttpClient {
  constructor(private readonly seen: (s: Seen) => void) { super(); }

  override async send(request: HttpRequest): Promise<HttpResponse> {
    const abort = new AbortController();
    if (request.abortSignal?.aborted) throw new AbortError();
    if (request.abortSignal) request.abortSignal.onabort = () => abort.abort();
    let late = false;
    const timer = request.timeout ? setTimeout(() => { late = true; abort.abort(); }, request.timeout) : undefined;
    const began = performance.now();
    const at = new Date();
    try {
      const content = request.content || undefined;
      const answer = await fetch(request.url!, {
        method: request.method, body: content, cache: "no-cache", credentials: "same-origin", redirect: "follow", signal: abort.signal,
        headers: { "X-Requested-With": "XMLHttpRequest", ...(typeof content === "string" ? { "Content-Type": "text/plain;charset=UTF-8" } : content ? { "Content-Type": "application/octet-stream" } : {}), ...request.headers },
      });
      const body = request.responseType === "arraybuffer" ? await answer.arrayBuffer() : await answer.text();
      this.seen({ at, kind: kindOf(request), method: request.method!, status: answer.status, node: answer.headers.get("X-Hubstream-Node") ?? "", took: performance.now() - began });
      if (!answer.ok) throw new HttpError((typeof body === "string" && body) || answer.statusText, answer.status);
      return new HttpResponse(answer.status, answer.statusText, body as string);
    } catch (error) {
      if (late) throw new TimeoutError();
      if (abort.signal.aborted) throw new AbortError();
      throw error;
    } finally {
      clearTimeout(timer);
      if (request.abortSignal) request.abortSignal.onabort = null;
    }
  }
}
