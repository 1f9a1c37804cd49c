import { render } from "preact"
import { App } from "./app"
import "./styles/tokens.css"
import "./styles/base.css"
import "./styles/layout.css"
import "./styles/parts.css"
import "./styles/person.css"
import "./styles/draw.css"
import "./styles/recognize.css"

render(<App />, document.getElementById("app")!)
