/**
 * What a QEMU process was started with, as far as its netdevs and monitors go. Pure.
 *
 * QEMU takes `type,key=value,...` with `,,` for a comma, and for -netdev and -chardev JSON as well (libvirt
 * writes that). What was plugged in or out since is not in here.
 */

import { parseProperties } from '../qemu/keyval.ts'
import type { NetClient } from './info-network.ts'

/** A `-netdev`, or the netdev of a `-nic`. */
export interface NetdevOption extends NetClient {
  readonly vhost: boolean
}

/** A monitor that speaks QMP. */
export type MonitorOption =
  /** As `--qmp` takes it; a path may be relative to the process's directory. */
  | { readonly address: string }
  /** A listening socket that was handed over. */
  | { readonly fd: number }

export interface QemuCommandLine {
  /** The guest's name (-name). */
  readonly name: string | undefined
  readonly monitors: readonly MonitorOption[]
  readonly netdevs: readonly NetdevOption[]
  /** The `-device`s that a netdev is plugged into. */
  readonly nics: readonly NetClient[]
}

type Properties = Readonly<Record<string, string>>

export function parseQemuCommandLine(args: readonly string[]): QemuCommandLine {
  const options = optionsOf(args)
  const valuesOf = (...names: readonly string[]): string[] =>
    options.filter(([name]) => names.includes(name)).map(([, value]) => value)
  const chardevs = new Map(
    valuesOf('chardev')
      .map(text => properties(text, 'backend'))
      .map(byId),
  )
  const nics = valuesOf('device')
    .map(text => properties(text, 'driver'))
    .filter(({ netdev }) => netdev !== undefined)
  const name = valuesOf('name').map(text => properties(text, 'guest')['guest'])
  return {
    name: name.at(-1),
    monitors: [
      ...valuesOf('qmp', 'qmp-pretty').flatMap(shortMonitor),
      ...valuesOf('mon')
        .map(text => properties(text, 'chardev'))
        .filter(({ mode }) => mode === 'control')
        .flatMap(({ chardev = '' }) => socketMonitor(chardevs.get(chardev) ?? {})),
    ],
    netdevs: valuesOf('netdev', 'nic').flatMap(text => netdevOption(properties(text, 'type'), nics)),
    nics: nics.map(nicOption),
  }
}

/** The path that a `-chardev socket` was given; undefined for one without, or that was plugged in later. */
export function chardevPath(args: readonly string[], id: string): string | undefined {
  const chardevs = optionsOf(args).filter(([name]) => name === 'chardev')
  return chardevs.map(([, value]) => properties(value, 'backend')).find(chardev => chardev['id'] === id)?.[
    'path'
  ]
}

function nicOption(device: Properties): NetClient {
  const { driver: model = '', mac } = device
  return { id: nicId(device), type: 'nic', queues: 1, model, ...(mac === undefined ? {} : { mac }) }
}

/** QEMU finds a name for a device without one only when it runs. */
function nicId({ id, netdev }: Properties): string {
  return id ?? `device of ${netdev}`
}

function netdevOption(option: Properties, nics: readonly Properties[]): NetdevOption[] {
  const { id, type, ifname, vhost, vhostfd, vhostfds, vhostforce } = option
  // A port of a hub is between two others, and the monitor calls it no client either.
  if (id === undefined || type === undefined || type === 'hubport') return []
  const fds = (option['fds'] ?? option['fd'])?.split(':') ?? []
  const fd = Number(fds[0])
  const nic = nics.find(({ netdev }) => netdev === id)
  return [
    {
      id,
      // The bridge helper makes a TAP, and the monitor calls it one.
      type: type === 'bridge' ? 'tap' : type,
      queues: Math.max(fds.length, Number(option['queues'] ?? 1)),
      ...(ifname === undefined ? {} : { interface: ifname }),
      ...(Number.isInteger(fd) ? { fd } : {}),
      ...(nic === undefined ? {} : { device: nicId(nic) }),
      vhost: isOn(vhost) || isOn(vhostforce) || vhostfd !== undefined || vhostfds !== undefined,
    },
  ]
}

/** `-name value` and `--name value`; every option that matters here has a value. */
function optionsOf(args: readonly string[]): [name: string, value: string][] {
  return args.flatMap((argument, index) => {
    const name = /^--?([a-z-]+)$/.exec(argument)?.[1]
    const value = args[index + 1]
    return name === undefined || value === undefined ? [] : [[name, value] as [string, string]]
  })
}

/** `first`: the key of a leading value without one. Nothing of what QEMU itself could not have read. */
function properties(text: string, first: string): Properties {
  try {
    return Object.fromEntries(parseProperties(text, first))
  } catch {
    return {}
  }
}

function byId(chardev: Properties): [string, Properties] {
  return [chardev['id'] ?? '', chardev]
}

/** `-qmp unix:PATH,server=on`, `-qmp tcp:HOST:PORT,server=on`; others (`stdio`, `pty`) nobody can connect to. */
function shortMonitor(text: string): MonitorOption[] {
  const { address = '', server, nowait } = properties(text, 'address')
  if (!isOn(server) && nowait === undefined) return []
  if (address.startsWith('unix:')) return [{ address }]
  const [, host, port] = /^tcp:(.*):(\d+)$/.exec(address) ?? []
  return port === undefined ? [] : [{ address: `tcp:${reachable(host)}:${port}` }]
}

function socketMonitor({ backend, path, host, port, fd, server }: Properties): MonitorOption[] {
  if ((backend !== 'socket' && backend !== undefined) || !isOn(server)) return []
  if (path !== undefined) return [{ address: `unix:${path}` }]
  if (fd !== undefined && /^\d+$/.test(fd)) return [{ fd: Number(fd) }]
  return port === undefined ? [] : [{ address: `tcp:${reachable(host)}:${port}` }]
}

/** Where to connect to a listener: one of all addresses has none of its own. */
function reachable(host = ''): string {
  return host === '' || host === '0.0.0.0' ? 'localhost' : host
}

function isOn(value: string | undefined): boolean {
  return value === 'on' || value === 'true' || value === 'yes'
}
