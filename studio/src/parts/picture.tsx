import { useEffect, useRef, useState } from "preact/hooks"
import { save } from "../api/client"
import { Icon } from "./icons"

/** Below this many pixels a picture is shown in whole blocks: it has no more to show. */
const SMALL = 128

export const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (one) => one.charCodeAt(0))

/** A PNG file in base64, painted: an address of its own for it would have to be let through the page's content policy. */
export function Picture({ data, label, file }: { data: string; label: string; file?: string }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [state, setState] = useState<"waiting" | "shown" | "broken">("waiting")
  useEffect(() => {
    let here = true
    setState("waiting")
    createImageBitmap(new Blob([bytesOf(data)], { type: "image/png" })).then(
      (bitmap) => {
        const on = canvas.current
        if (!here || !on) return
        on.width = bitmap.width
        on.height = bitmap.height
        on.classList.toggle("blocks", bitmap.width < SMALL)
        on.getContext("2d")?.drawImage(bitmap, 0, 0)
        setState("shown")
      },
      () => here && setState("broken"),
    )
    return () => {
      here = false
    }
  }, [data])
  return (
    <span class="picture" data-state={state}>
      <canvas ref={canvas} role="img" aria-label={label} />
      {state === "broken" && <span class="muted small">This picture cannot be shown.</span>}
      {file && (
        <button
          type="button"
          class="small quiet"
          aria-label={`Download ${label}`}
          onClick={() => save(new Blob([bytesOf(data)], { type: "image/png" }), file)}
        >
          <Icon name="download" />
          PNG
        </button>
      )}
    </span>
  )
}
