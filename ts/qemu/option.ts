/** What `-chardev` and `-object` have in common: the text, and the id. Pure. */

import { invalid } from './failures.ts'
import { type Properties, parseProperties } from './keyval.ts'

export interface NamedOption {
  readonly id: string
  readonly properties: Properties
}

/** `first`: the key of the leading value. Throws QEMU_OPTION_INVALID. */
export function readOption(text: string, first: string, flag: string): NamedOption {
  const subject = `${flag} '${text}'`
  const properties = propertiesOf(text, first, subject)
  const id = properties.get('id') ?? ''
  if (id === '') throw invalid(subject, 'no id specified', 'add an id, such as id=c0')
  // util/id.c
  if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) {
    const rule = "an id is made of letters, digits, '-', '.' and '_', and starts with a letter"
    throw invalid(subject, `'${id}' is no id`, rule)
  }
  return { id, properties }
}

function propertiesOf(text: string, first: string, subject: string): Properties {
  try {
    return parseProperties(text, first)
  } catch {
    throw invalid(subject, 'begins like JSON and is none', `write ${first}=..., or mend the JSON`)
  }
}
