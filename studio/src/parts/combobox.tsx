import type { ComponentChildren } from "preact"
import { useEffect, useId, useState } from "preact/hooks"

export interface Option {
  id: string
  label: ComponentChildren
  hint?: ComponentChildren
}

interface ComboboxProps<T extends Option> {
  label: string
  placeholder?: string
  search: (text: string, signal: AbortSignal) => Promise<T[]>
  onPick: (option: T) => void
  /** What Enter does while nothing is highlighted. */
  onEnter?: (text: string) => void
  autofocus?: boolean
  /** The list stands in the page instead of floating over it. */
  inline?: boolean
  none?: string
}

/** A text field with a list of what fits, after the ARIA combobox pattern: arrows choose, Enter takes, Escape closes. */
export function Combobox<T extends Option>({
  label,
  placeholder,
  search,
  onPick,
  onEnter,
  autofocus,
  inline,
  none,
}: ComboboxProps<T>) {
  const id = useId()
  const [text, setText] = useState("")
  const [open, setOpen] = useState(Boolean(inline))
  const [at, setAt] = useState(-1)
  const [found, setFound] = useState<{ options: T[]; failed?: string }>()

  useEffect(() => {
    if (!open) return
    const stop = new AbortController()
    const timer = setTimeout(() => {
      search(text, stop.signal).then(
        (options) => setFound({ options }),
        (failure: Error) => stop.signal.aborted || setFound({ options: [], failed: failure.message }),
      )
    }, 120)
    return () => {
      clearTimeout(timer)
      stop.abort()
    }
    // The search function is made anew on every render; only what is typed matters.
  }, [text, open])

  const options = found?.options ?? []
  function pick(option: T) {
    setText("")
    setAt(-1)
    if (!inline) setOpen(false)
    onPick(option)
  }
  function onKeyDown(event: KeyboardEvent) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault()
      setOpen(true)
      const step = event.key === "ArrowDown" ? 1 : -1
      if (options.length) setAt((was) => (was + step + options.length + (was < 0 && step < 0 ? 1 : 0)) % options.length)
    } else if (event.key === "Enter") {
      event.preventDefault()
      const option = options[at]
      if (open && option) pick(option)
      else if (text.trim()) onEnter?.(text.trim())
    } else if (event.key === "Escape" && open && !inline) {
      event.preventDefault()
      event.stopPropagation()
      setOpen(false)
    }
  }

  return (
    <div class={inline ? "combobox inline" : "combobox"}>
      <label class={inline ? "sr-only" : "label"} for={`${id}-field`}>
        {label}
      </label>
      <input
        autofocus={autofocus}
        id={`${id}-field`}
        type="text"
        role="combobox"
        autocomplete="off"
        spellcheck={false}
        placeholder={placeholder}
        aria-autocomplete="list"
        aria-expanded={open}
        aria-controls={`${id}-list`}
        aria-activedescendant={open && options[at] ? `${id}-${at}` : undefined}
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value)
          setAt(-1)
          setOpen(true)
        }}
        onFocus={() => setOpen(true)}
        onBlur={() => inline || setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <ul id={`${id}-list`} role="listbox" aria-label="Suggestions" hidden={!open}>
        {options.map((option, index) => (
          <li
            key={option.id}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === at}
            onMouseDown={(event) => event.preventDefault()}
            onMouseMove={() => setAt(index)}
            onClick={() => pick(option)}
            ref={
              index === at ? (element: HTMLElement | null) => element?.scrollIntoView({ block: "nearest" }) : undefined
            }
          >
            <span>{option.label}</span>
            {option.hint && <span class="muted small">{option.hint}</span>}
          </li>
        ))}
      </ul>
      {open && found && !options.length && <p class="muted small nothing">{found.failed ?? none ?? "Nothing fits."}</p>}
    </div>
  )
}
