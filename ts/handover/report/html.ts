/** Markup from templates: whatever is put into one is escaped, unless it is markup itself. */

export class Markup {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

type Part = string | number | Markup | readonly Markup[]

/** html`<td>${anything}</td>`: for HTML and SVG alike. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  const text = strings.map(
    (string, index) => string + (index < parts.length ? textOf(parts[index] ?? '') : ''),
  )
  return new Markup(text.join(''))
}

/** No markup at all. */
export const NOTHING = new Markup('')

function textOf(part: Part): string {
  if (part instanceof Markup) return part.text
  if (typeof part === 'string' || typeof part === 'number') return escaped(String(part))
  return part.map(({ text }) => text).join('')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** For text between tags and in quoted attributes. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, character => ENTITIES[character] ?? '')
}
