import type { ComponentChildren } from "preact"
import { useState } from "preact/hooks"
import { Icon } from "./icons"

interface DropProps {
  label: string
  accept: string
  multiple?: boolean
  disabled?: boolean
  onFiles: (files: File[]) => void
  /** What may be given. */
  children: ComponentChildren
}

/** A place to drop files on, which is also the button that opens the browser's own choice. */
export function Drop({ label, accept, multiple, disabled, onFiles, children }: DropProps) {
  const [over, setOver] = useState(false)
  const given = (list: FileList | null | undefined) => {
    const files = [...(list ?? [])]
    if (files.length && !disabled) onFiles(multiple ? files : files.slice(0, 1))
  }
  return (
    <label
      class={over ? "drop over" : "drop"}
      onDragOver={(event) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        given(event.dataTransfer?.files)
      }}
    >
      <input
        type="file"
        aria-label={label}
        accept={accept}
        multiple={multiple}
        disabled={disabled}
        onChange={(event) => {
          given(event.currentTarget.files)
          // The same files may be given again.
          event.currentTarget.value = ""
        }}
      />
      <Icon name="upload" />
      <span>
        <b>{label}</b>, or drop {multiple ? "some" : "one"} here
      </span>
      <span class="muted small">{children}</span>
    </label>
  )
}
