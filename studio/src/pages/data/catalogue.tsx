import { useLocation } from "preact-iso"
import { useEffect, useState } from "preact/hooks"
import { call, path, withQuery } from "../../api/client"
import type { Item } from "../../api/types"
import { useAction } from "../../api/use-api"
import { usePages } from "../../api/use-pages"
import { plain } from "../../format"
import { announce } from "../../parts/announce"
import { CopyAs } from "../../parts/copy"
import { Dialog } from "../../parts/dialog"
import { Badge, Icon } from "../../parts/icons"
import { Empty, Failure, Load, Panel } from "../../parts/panel"
import { Table, type Column } from "../../parts/table"
import { useScope } from "../../session"

const PAGE = 200
const SHOWN = new Set(["item", "title", "hidden", "categories"])

/** The catalogue: found, hidden, deleted, added to. */
export function Catalogue({ total, changed }: { total: number | undefined; changed: () => void }) {
  const { query, route } = useLocation()
  const wanted = query.items ?? ""
  const [text, setText] = useState(wanted)
  const items = usePages<Item>("/v1/items", { query: wanted }, PAGE)
  const mayWrite = useScope("write")
  const [adding, setAdding] = useState(false)
  const [deleting, setDeleting] = useState<Item>()
  useEffect(() => {
    if (text.trim() === wanted) return
    const timer = setTimeout(() => route(withQuery("/data", { items: text.trim() }), true), 250)
    return () => clearTimeout(timer)
  }, [text])
  // Told here at once; the list itself is read again when it is asked for the next time.
  const [now, setNow] = useState<Record<string, Partial<Item> | null>>({})
  useEffect(() => setNow({}), [items.first.data])
  const rows = items.rows
    .filter((one) => now[String(one.item)] !== null)
    .map((one) => ({ ...one, ...now[String(one.item)] }))
  const [hide, hiding] = useAction(async (one: Item) => {
    const hidden = !one.hidden
    setNow((was) => ({ ...was, [String(one.item)]: { hidden } }))
    try {
      await call("PATCH", path`/v1/items/${String(one.item)}`, { hidden })
    } catch (failure) {
      setNow((was) => ({ ...was, [String(one.item)]: { hidden: one.hidden } }))
      throw failure
    }
    announce(`${name(one)}: ${hidden ? "hidden" : "shown again"}`)
  })

  const columns: Column<Item>[] = [
    {
      name: "Item",
      room: "broad",
      value: (one) => one.item,
      cell: (one) => (
        <span title={name(one)}>
          {one.hidden && <span class="muted small narrow-only">hidden </span>}
          {one.title ?? one.item} {one.title && <span class="muted small">{one.item}</span>}
        </span>
      ),
    },
    { name: "Title", value: (one) => one.title, apart: true },
    { name: "Categories", wide: true, value: (one) => one.categories?.join(", ") },
    { name: "More", wide: true, apart: !rows.some(rest), value: rest },
    {
      name: "Shown",
      room: "narrow",
      wide: true,
      value: (one) => !one.hidden,
      cell: (one) => (one.hidden ? <Badge tone="warn">hidden</Badge> : "yes"),
    },
    ...(mayWrite
      ? [
          {
            name: "Change",
            room: "narrow" as const,
            cell: (one: Item) => (
              <span class="row-actions">
                <button
                  type="button"
                  class="quiet square"
                  title={one.hidden ? "Show again" : "Hide"}
                  aria-label={`${one.hidden ? "Show again" : "Hide"}: ${name(one)}`}
                  onClick={() => hide(one)}
                >
                  <Icon name={one.hidden ? "eye" : "hidden"} />
                </button>
                <button
                  type="button"
                  class="quiet square"
                  title="Delete"
                  aria-label={`Delete: ${name(one)}`}
                  onClick={() => setDeleting(one)}
                >
                  <Icon name="trash" />
                </button>
              </span>
            ),
          },
        ]
      : []),
  ]
  return (
    <Panel
      title="Catalogue"
      hint="What there is to recommend. Hiding holds from the next answer on, and can be taken back."
      actions={
        mayWrite && (
          <button type="button" onClick={() => setAdding(true)}>
            <Icon name="plus" />
            Add an item
          </button>
        )
      }
    >
      <div class="field">
        <label class="label" for="items-query">
          Search the catalogue
        </label>
        <input
          id="items-query"
          type="search"
          placeholder="A part of a title or an id"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </div>
      {hiding.error && <Failure problem={hiding.error} />}
      <Load
        from={items.first}
        lines={8}
        empty={(page) =>
          !page.items.length &&
          (wanted ? (
            <p class="muted">No item matches “{wanted}”.</p>
          ) : (
            <Empty title="The catalogue is empty.">
              Import a file of items above, or add the first one. Items of events need not be in it; titles and filters
              come from here.
            </Empty>
          ))
        }
      >
        {() => (
          <Table
            long
            caption="Catalogue"
            rows={rows}
            columns={columns}
            pages={items}
            total={wanted ? undefined : total}
            id={(one) => String(one.item)}
          />
        )}
      </Load>
      <CopyAs url={items.url} />
      {adding && (
        <Add
          onClose={() => setAdding(false)}
          onDone={(item) => {
            setAdding(false)
            announce(`${item} is in the catalogue`)
            items.first.reload()
            changed()
          }}
        />
      )}
      {deleting && (
        <Delete
          item={deleting}
          onClose={() => setDeleting(undefined)}
          onDone={() => {
            setNow((was) => ({ ...was, [String(deleting.item)]: null }))
            setDeleting(undefined)
            changed()
          }}
        />
      )}
    </Panel>
  )
}

const name = (one: Item) => one.title || String(one.item)

/** Everything else that is known, in one line. */
const rest = (one: Item) =>
  Object.entries(one)
    .filter(([key, value]) => !SHOWN.has(key) && value !== null)
    .map(([key, value]) => `${key}: ${plain(value)}`)
    .join(" · ")

function Delete({ item, onClose, onDone }: { item: Item; onClose: () => void; onDone: () => void }) {
  const [remove, removing] = useAction(async () => {
    await call("DELETE", path`/v1/items/${String(item.item)}`)
    announce(`${name(item)} is deleted`)
    onDone()
  })
  return (
    <Dialog title={`Delete ${name(item)}?`} onClose={onClose}>
      <p>
        It goes out of every answer from the next one on, also of models that were fitted with it, until it is added
        again. What people did with it stays. To take it away for a while, hide it.
      </p>
      {removing.error && <Failure problem={removing.error} />}
      <div class="actions end">
        <button type="button" autofocus onClick={onClose}>
          Keep it
        </button>
        <button type="button" class="danger" disabled={removing.pending} onClick={() => remove()}>
          {removing.pending ? "Deleting…" : "Delete"}
        </button>
      </div>
    </Dialog>
  )
}

function Add({ onClose, onDone }: { onClose: () => void; onDone: (item: string) => void }) {
  const [form, setForm] = useState({ item: "", title: "", categories: "", text: "" })
  const [add, adding] = useAction(async () => {
    const id = form.item.trim()
    const categories = form.categories.split(",").flatMap((one) => one.trim() || [])
    await call("PUT", "/v1/items", {
      items: [
        {
          item: id,
          ...(form.title.trim() && { title: form.title.trim() }),
          ...(form.text.trim() && { text: form.text.trim() }),
          ...(categories.length && { categories }),
        },
      ],
    })
    onDone(id)
  })
  const fields: [keyof typeof form, string, string][] = [
    ["item", "Id", "as events name it"],
    ["title", "Title", ""],
    ["categories", "Categories, separated by commas", ""],
    ["text", "Description", ""],
  ]
  return (
    <Dialog title="Add an item" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault()
          add()
        }}
      >
        {fields.map(([key, label, hint], at) => (
          <label key={key}>
            <span class="label">{label}</span>
            <input
              type="text"
              required={key === "item"}
              maxLength={key === "item" ? 512 : 10_000}
              autofocus={at === 0}
              autocomplete="off"
              placeholder={hint}
              value={form[key]}
              onInput={(event) => setForm({ ...form, [key]: event.currentTarget.value })}
            />
          </label>
        ))}
        <p class="muted small">
          An item that is there already is replaced. Other attributes come with a file or the API.
        </p>
        {adding.error && <Failure problem={adding.error} />}
        <div class="actions end">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={adding.pending || !form.item.trim()}>
            {adding.pending ? "Adding…" : "Add"}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
