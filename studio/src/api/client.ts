import { createParser } from "eventsource-parser"

const KEY = "sartor-key"

/** What went wrong, as the server says it (RFC 9457), or that the server could not be reached. */
export class Problem extends Error {
  constructor(
    readonly status: number, // 0: no answer at all
    readonly title: string,
    readonly detail: string,
    readonly fix = "",
    readonly requestId = "",
  ) {
    super(detail || title)
  }

  get offline() {
    return this.status === 0
  }
}

/** The key lives as long as the tab and is sent to nobody but this server. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value: string) => sessionStorage.setItem(KEY, value),
  drop: () => sessionStorage.removeItem(KEY),
}

/** A path with its parts encoded: path`/v1/people/${person}`. */
export function path(texts: TemplateStringsArray, ...parts: (string | number)[]): string {
  return texts.reduce((all, text, at) => all + text + (at < parts.length ? encodeURIComponent(parts[at]!) : ""), "")
}

export type Query = Record<string, string | number | boolean | null | undefined>

/** A path with a query; empty values are left out. */
export function withQuery(base: string, query: Query): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") search.set(name, String(value))
  }
  return search.size ? `${base}?${search}` : base
}

async function send(method: string, url: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {}
  const secret = key.get()
  if (secret) headers.Authorization = `Bearer ${secret}`
  if (body !== undefined) headers["Content-Type"] = "application/json"
  let response: Response
  try {
    response = await fetch(url, {
      method,
      headers,
      signal,
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    })
  } catch (failure) {
    if (signal?.aborted) throw failure
    throw new Problem(
      0,
      "No connection",
      "The server does not answer.",
      "Look whether sartor serve is running; the studio tries again by itself.",
    )
  }
  if (!response.ok) throw await problemOf(response)
  return response
}

async function problemOf(response: Response): Promise<Problem> {
  let told: Record<string, unknown> = {}
  try {
    told = (await response.json()) as Record<string, unknown>
  } catch {
    // Something between us and the server answered in its own words: the status says it all.
  }
  const text = (value: unknown) => (typeof value === "string" ? value : "")
  return new Problem(
    response.status,
    text(told.title) || `HTTP ${response.status}`,
    text(told.detail) || response.statusText,
    text(told.fix),
    text(told.request_id),
  )
}

export async function call<T>(method: string, url: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await send(method, url, body, signal)
  return (response.status === 204 ? undefined : await response.json()) as T
}

const FILE = "application/octet-stream"

/** Send a file, or its beginning, as it is; `far` hears which share has left. Only XMLHttpRequest can tell that. */
export function upload<T>(url: string, file: Blob, signal?: AbortSignal, far?: (share: number) => void): Promise<T> {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest()
    request.open("POST", url)
    request.setRequestHeader("Content-Type", FILE)
    const secret = key.get()
    if (secret) request.setRequestHeader("Authorization", `Bearer ${secret}`)
    request.responseType = "text"
    request.upload.onprogress = (event) => event.lengthComputable && far?.(event.loaded / event.total)
    request.onload = async () => {
      const answer = new Response(request.responseText, { status: request.status })
      if (request.status >= 400) failed(await problemOf(answer))
      else done((await answer.json()) as T)
    }
    request.onerror = () =>
      failed(
        new Problem(
          0,
          "The file did not arrive",
          "The connection broke before the server had it all.",
          "Is it larger than the server takes (Settings, limits)? Is sartor serve running?",
        ),
      )
    request.onabort = () => failed(new Problem(-1, "Stopped", "The file was not sent."))
    signal?.addEventListener("abort", () => request.abort())
    request.send(file)
  })
}

/** A file the server makes; the name is the one it proposes. */
export async function download(url: string, name: string): Promise<number> {
  const blob = await (await send("GET", url)).blob()
  save(blob, name)
  return blob.size
}

export function save(blob: Blob, name: string) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

/** Server-sent events; EventSource cannot carry a key, fetch can. Ends when the server ends it. */
export async function follow<T>(url: string, each: (event: T) => void, signal: AbortSignal): Promise<void> {
  const response = await send("GET", url, undefined, signal)
  const parser = createParser({
    onEvent: ({ data, event }) => {
      if (event !== "end" && data) each(JSON.parse(data) as T)
    },
  })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    parser.feed(value)
  }
}
