import { useState } from "preact/hooks"
import { Drop } from "../../parts/drop"
import { Notice } from "../../parts/panel"
import { Picture } from "../../parts/picture"

/** Of one request, as the server takes them. */
const MOST = 32

const base64 = (file: File) =>
  new Promise<string>((done, failed) => {
    const reader = new FileReader()
    reader.onload = () => done(String(reader.result).split(",", 2)[1] ?? "")
    reader.onerror = () => failed(reader.error)
    reader.readAsDataURL(file)
  })

interface PicturesProps {
  label: string
  /** Whom they should show. */
  what: string
  images: string[]
  disabled?: boolean
  /** Files in base64. */
  onImages: (images: string[]) => void
}

/** Pictures chosen or dropped, as they will be sent. */
export function Pictures({ label, what, images, disabled, onImages }: PicturesProps) {
  const [wrong, setWrong] = useState<string>()
  async function take(files: File[]) {
    setWrong(files.length > MOST ? `The first ${MOST} of ${files.length} are taken.` : undefined)
    try {
      onImages(await Promise.all(files.slice(0, MOST).map(base64)))
    } catch (failure) {
      setWrong(`A file could not be read: ${failure}`)
    }
  }
  return (
    <>
      <Drop label={label} accept="image/png,image/jpeg,image/webp" multiple disabled={disabled} onFiles={take}>
        PNG, JPEG or WebP, at most {MOST}. {what}, cut as the model's own pictures are.
      </Drop>
      {wrong && <Notice tone="warn">{wrong}</Notice>}
      {images.length > 0 && (
        <ul class="chosen" aria-label="Chosen pictures">
          {images.map((data, at) => (
            <li key={at}>
              <Picture data={data} label={`Chosen picture ${at + 1}`} />
            </li>
          ))}
        </ul>
      )}
    </>
  )
}
