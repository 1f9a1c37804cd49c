import { useEffect } from "preact/hooks"

/** The title of the tab, so that history and bookmarks can be read. */
export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · sartor`
  }, [title])
}
