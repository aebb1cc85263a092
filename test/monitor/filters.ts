/** Chardevs and filters of a simulated VM, as QEMU 7.2 has them: an indev whose peer leaves is not listened to again. */

import { SimulatedError, type SimulatorOptions } from '../../ts/monitor/simulator.ts'

interface Chardev {
  label: string
  filename: string
  'frontend-open': boolean
}

type Filter = Record<string, string | boolean> & { id: string; type: string }

const REDIRECTOR = {
  type: 'filter-redirector',
  netdev: 'hn0',
  queue: 'tx',
  status: 'on',
  position: 'tail',
  insert: 'behind',
  indev: '',
  outdev: '',
  vnet_hdr_support: false,
}

export class SimulatedFilters {
  readonly chardevs: Chardev[] = []
  /** In the order in which frames pass them. */
  readonly filters: Filter[] = []
  /** What object-add is refused with. */
  refusal: string | undefined
  /** A new filter does not hear either. */
  incurable = false
  /** Commands that changed something, in short. */
  readonly changes: string[] = []

  chardev(label: string, filename: string, { deaf }: { deaf: boolean }): void {
    this.chardevs.push({ label, filename, 'frontend-open': !deaf })
  }

  filter(id: string, properties: Record<string, string | boolean>): void {
    this.filters.push({ ...REDIRECTOR, ...properties, id })
  }

  /** For QmpSimulator. */
  get commands(): NonNullable<SimulatorOptions['commands']> {
    return {
      'query-chardev': () => this.chardevs,
      'qom-list': ({ path }) => this.#list(String(path)),
      'qom-get': ({ path, property }) =>
        this.#find(String(path).slice('/objects/'.length))[String(property)] ?? '',
      'object-del': ({ id }) => this.#remove(String(id)),
      'object-add': args => this.#add(args as Record<string, string | boolean>),
    }
  }

  /** As the human monitor prints them. */
  get infoNetwork(): string {
    const lines = this.filters.map(({ id, type, ...properties }) => {
      const text = Object.entries(properties).map(([name, value]) => `${name}=${value}`)
      return `  - ${id}: type=${type},${text.join(',')}`
    })
    const netdev = ' \\ hn0: index=0,type=tap,ifname=tap0,script=no,downscript=no'
    return [
      'e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56',
      netdev,
      'filters:',
      ...lines,
      '',
    ].join('\r\n')
  }

  #list(path: string): { name: string; type: string }[] {
    if (path === '/objects') {
      return [
        { name: 'type', type: 'string' },
        ...this.filters.map(({ id, type }) => ({ name: id, type: `child<${type}>` })),
      ]
    }
    const { id: _, ...properties } = this.#find(path.slice('/objects/'.length))
    return Object.keys(properties).map(name => ({ name, type: 'string' }))
  }

  #find(id: string): Filter {
    const found = this.filters.find(filter => filter.id === id)
    if (found === undefined) throw new SimulatedError('GenericError', `object '${id}' not found`)
    return found
  }

  #remove(id: string): object {
    this.filters.splice(this.filters.indexOf(this.#find(id)), 1)
    this.changes.push(`del ${id}`)
    return {}
  }

  #add(args: Record<string, string | boolean>): object {
    if (this.refusal !== undefined) throw new SimulatedError('GenericError', this.refusal)
    const { 'qom-type': type, id, position, insert, ...rest } = args
    for (const end of ['indev', 'outdev']) {
      if (rest[end] === '') throw new SimulatedError('DeviceNotFound', `Device '' not found`)
    }
    const filter = { ...REDIRECTOR, ...rest, position, insert, type, id } as Filter
    const neighbour = this.filters.findIndex(other => `id=${other.id}` === position)
    const at = neighbour < 0 ? this.filters.length : neighbour + (insert === 'behind' ? 1 : 0)
    this.filters.splice(at, 0, filter)
    const indev = this.chardevs.find(({ label }) => label === rest['indev'])
    if (indev !== undefined) indev['frontend-open'] = !this.incurable
    this.changes.push(`add ${id} ${position} ${insert}`)
    return {}
  }
}
