import type { ComponentChildren } from "preact"
import { useId, useLayoutEffect, useRef } from "preact/hooks"
import { Icon } from "./icons"

interface DialogProps {
  title: string
  onClose: () => void
  class?: string
  children: ComponentChildren
}

/** A modal dialog: the browser's own, which keeps the focus inside, closes on Escape; the focus goes back to where it was. */
export function Dialog({ title, onClose, class: extra, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null)
  const id = useId()
  // Before the next frame: what somebody types right after the key that opened it belongs to the dialog.
  useLayoutEffect(() => {
    const dialog = ref.current!
    const before = document.activeElement as HTMLElement | null
    dialog.showModal()
    return () => {
      // The browser gives the focus back only when a dialog is closed while it is still in the page.
      dialog.close()
      before?.focus({ preventScroll: true })
    }
  }, [])
  return (
    <dialog
      ref={ref}
      class={extra}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        onClose()
      }}
      onClick={(event) => event.target === ref.current && onClose()}
    >
      <div class="dialog-body">
        <header class="panel-head">
          <h2 id={id}>{title}</h2>
          <button type="button" class="quiet square" aria-label="Close" onClick={onClose}>
            <Icon name="close" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  )
}
