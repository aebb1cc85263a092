/** The VM's net filters: their properties, and their order. */

import type { Monitor } from '../monitor/index.ts'

export type PropertyValue = string | number | boolean

/** Those that take frames from a chardev, or give them to one. */
export type FilterType = 'filter-mirror' | 'filter-redirector'

export interface NetFilter {
  readonly id: string
  readonly type: FilterType
  /** All that it has: `netdev`, `queue`, `indev`, `status` ...; empty ones are those that were not given. */
  readonly properties: Readonly<Record<string, PropertyValue>>
}

interface ObjectProperty {
  readonly name: string
  readonly type: string
}

/** The VM's filters of these types. Rejects with what Monitor.command rejects with. */
export async function listFilters(monitor: Monitor, types: readonly FilterType[]): Promise<NetFilter[]> {
  const objects = await monitor.command<ObjectProperty[]>('qom-list', { path: '/objects' })
  const filters = objects.flatMap(({ name, type: child }) => {
    const type = types.find(each => child === `child<${each}>`)
    return type === undefined ? [] : [{ id: name, type }]
  })
  return Promise.all(
    filters.map(async filter => ({ ...filter, properties: await propertiesOf(monitor, filter.id) })),
  )
}

async function propertiesOf(monitor: Monitor, id: string): Promise<NetFilter['properties']> {
  const path = `/objects/${id}`
  const properties = await monitor.command<ObjectProperty[]>('qom-list', { path })
  const pairs = properties
    .filter(({ name }) => name !== 'type')
    .map(
      async ({ name }): Promise<[string, PropertyValue]> => [
        name,
        await monitor.command<PropertyValue>('qom-get', { path, property: name }),
      ],
    )
  return Object.fromEntries(await Promise.all(pairs))
}

/** A line below `filters:` in `info network`; each property but the values themselves is free of commas. */
const FILTER = /^ {2}- (?<id>\S+): type=[^,]+,.*\bnetdev=(?<netdev>[^,]*)/

/** The ids of a netdev's filters, in the order in which frames to the guest pass them. Pure. */
export function filterOrder(infoNetwork: string, netdev: string): string[] {
  return infoNetwork.split(/\r?\n/).flatMap(line => {
    const groups = FILTER.exec(line)?.groups
    return groups?.['netdev'] === netdev && groups['id'] !== undefined ? [groups['id']] : []
  })
}

/**
 * What makes the filter anew in the place that it has. Its own `position` is the one that it was made with, and
 * `tail` would now put it behind filters that came later. Pure.
 */
export function sameAgain(
  { id, type, properties }: NetFilter,
  order: readonly string[],
): Record<string, PropertyValue> {
  const given = Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== ''))
  return { 'qom-type': type, id, ...given, ...placeIn(order, id) }
}

function placeIn(order: readonly string[], id: string): Record<string, string> {
  const at = order.indexOf(id)
  // An unknown order: as it was made.
  if (at < 0) return {}
  const [before, behind] = [order[at - 1], order[at + 1]]
  if (before !== undefined) return { position: `id=${before}`, insert: 'behind' }
  if (behind !== undefined) return { position: `id=${behind}`, insert: 'before' }
  return { position: 'tail', insert: 'behind' }
}
