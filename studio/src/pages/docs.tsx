import { useApi } from "../api/use-api"
import { Badge } from "../parts/icons"
import { Load, Panel } from "../parts/panel"
import { useTitle } from "../title"

interface Schema {
  $ref?: string
  type?: string | string[]
  format?: string
  enum?: unknown[]
  const?: unknown
  items?: Schema
  anyOf?: Schema[]
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: Schema | boolean
  default?: unknown
  description?: string
  minimum?: number
  maximum?: number
}

interface Operation {
  tags?: string[]
  summary?: string
  description?: string
  security?: unknown[]
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema: Schema }[]
  requestBody?: { content: Record<string, { schema?: Schema }> }
  responses: Record<string, { description?: string; content?: Record<string, { schema?: Schema }> }>
}

interface Document {
  info: { title: string; version: string; description?: string }
  paths: Record<string, Record<string, Operation>>
  components?: { schemas?: Record<string, Schema> }
}

const METHODS = ["get", "post", "put", "patch", "delete"]

/** The API in words, made from the server's own OpenAPI document; it needs no key and nothing from elsewhere. */
export function Docs() {
  useTitle("API reference")
  const document = useApi<Document>("/openapi.json")
  return (
    <>
      <h1>API reference</h1>
      <Load from={document} lines={10}>
        {(api) => (
          <>
            <Panel
              title={`${api.info.title} ${api.info.version}`}
              actions={
                <a href="/openapi.json" download="openapi.json">
                  OpenAPI document
                </a>
              }
            >
              <p>{api.info.description}</p>
              <p>
                Send a key with every request: <code>Authorization: Bearer sk_sartor_…</code>
              </p>
            </Panel>
            {groups(api).map(([tag, routes]) => (
              <Panel key={tag} title={tag}>
                <ul class="systems">
                  {routes.map(({ method, address, operation }) => (
                    <li key={method + address}>
                      <details>
                        <summary class="system-head">
                          <span class="system-name">
                            <code class="address">
                              <b>{method.toUpperCase()}</b> {address}
                            </code>
                            <span class="muted">{first(operation)}</span>
                          </span>
                        </summary>
                        <Route operation={operation} schemas={api.components?.schemas ?? {}} />
                      </details>
                    </li>
                  ))}
                </ul>
              </Panel>
            ))}
          </>
        )}
      </Load>
    </>
  )
}

function groups(api: Document) {
  const by = new Map<string, { method: string; address: string; operation: Operation }[]>()
  for (const [address, methods] of Object.entries(api.paths))
    for (const method of METHODS) {
      const operation = methods[method]
      if (!operation) continue
      const tag = operation.tags?.[0] ?? "server"
      by.set(tag, [...(by.get(tag) ?? []), { method, address, operation }])
    }
  return [...by]
}

const first = (operation: Operation) => operation.description?.split("\n\n")[0] ?? operation.summary ?? ""

function Route({ operation, schemas }: { operation: Operation; schemas: Record<string, Schema> }) {
  const shape = (content?: Record<string, { schema?: Schema }>) =>
    Object.entries(content ?? {}).map(([kind, one]) => (
      <div key={kind}>
        {kind !== "application/json" && <code>{kind}</code>}
        {one.schema && Object.keys(one.schema).length > 0 && (
          <pre class="log" tabIndex={0}>
            {write(one.schema, schemas)}
          </pre>
        )}
      </div>
    ))
  return (
    <div class="system-body">
      {operation.description && operation.description !== first(operation) && <p>{operation.description}</p>}
      {operation.parameters && operation.parameters.length > 0 && (
        <dl class="parameters">
          {operation.parameters.map((one) => (
            <div key={one.name}>
              <dt>
                <code>{one.name}</code> {one.required && <Badge>required</Badge>}
              </dt>
              <dd class="muted small">
                {one.in}, {write(one.schema, schemas)}
                {one.schema.default !== undefined &&
                  one.schema.default !== null &&
                  `, ${JSON.stringify(one.schema.default)} when left out`}
                {one.description && `. ${one.description}`}
              </dd>
            </div>
          ))}
        </dl>
      )}
      {operation.requestBody && (
        <div>
          <h3>Send</h3>
          {shape(operation.requestBody.content)}
        </div>
      )}
      {Object.entries(operation.responses)
        .filter(([status]) => status.startsWith("2"))
        .map(([status, response]) => (
          <div key={status}>
            <h3>Get {status}</h3>
            {shape(response.content)}
          </div>
        ))}
    </div>
  )
}

/** A schema as short text: {name: kind, other?: kind}. */
function write(schema: Schema, schemas: Record<string, Schema>, depth = 0): string {
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1)!
    const inner = schemas[name]
    return inner && depth < 5 ? write(inner, schemas, depth + 1) : name
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ")
  if (schema.anyOf) return [...new Set(schema.anyOf.map((one) => write(one, schemas, depth)))].join(" | ")
  if (schema.items) return `[${write(schema.items, schemas, depth)}]`
  if (schema.properties) {
    const space = "  ".repeat(depth + 1)
    const rows = Object.entries(schema.properties).map(
      ([name, one]) =>
        `${space}${name}${schema.required?.includes(name) ? "" : "?"}: ${write(one, schemas, depth + 1)}`,
    )
    return `{\n${rows.join("\n")}\n${"  ".repeat(depth)}}`
  }
  if (typeof schema.additionalProperties === "object")
    return `{name: ${write(schema.additionalProperties, schemas, depth)}}`
  const kind = Array.isArray(schema.type) ? schema.type.join(" | ") : (schema.type ?? "anything")
  const range =
    schema.minimum !== undefined && schema.maximum !== undefined ? ` ${schema.minimum} to ${schema.maximum}` : ""
  return (schema.format ?? kind) + range
}
