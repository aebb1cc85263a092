/** The ends of a plan as the addon wants them, and as people know them. */

import { fstatSync } from 'node:fs'
import type { DatagramOptions, RedirectorOptions, StreamOptions } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { netnsPath } from '../host/namespaces.ts'
import type { Monitor } from '../monitor/index.ts'
import {
  assumption,
  type NetdevRole,
  netdevName,
  type ResolvedNetdev,
  resolveNetdev,
} from '../netdev/index.ts'
import { whenThere } from '../netdev/wait.ts'
import type { Printer } from '../output/printer.ts'
import { type DatagramPlan, formatPeer, type NetdevEnd, type StreamPlan } from './ends.ts'
import type { RunPlan } from './plan.ts'

export interface Surroundings {
  readonly monitor: Monitor | undefined
  readonly printer: Printer
  /** Ends the wait for a netdev. */
  readonly signal: AbortSignal
}

/** The end points as people know them: `hn0 (tapA)`, `unix:/run/x.sock`. */
export interface Names {
  readonly input: string
  readonly output: string
}

type EndOptions = Pick<
  RedirectorOptions,
  'inNetdev' | 'inNetns' | 'indev' | 'inDatagrams' | 'outNetdev' | 'outNetns' | 'outdev' | 'outDatagrams'
>

/**
 * Whether the descriptors that were handed over are sockets. To be called before this process opens one of its own,
 * which could have just that number.
 */
export function checkDescriptors({ input, output }: RunPlan): void {
  for (const [role, end] of [
    ['indev', input],
    ['outdev', output],
  ] as const) {
    if (end.kind !== 'stream' || end.address.kind !== 'fd' || isSocket(end.address.fd)) continue
    throw new TapferryError(
      'STREAM_INVALID',
      `${role} 'fd:${end.address.fd}' is no socket: whoever started tapferry has handed none over by that number`,
      'hand over a connected or listening stream socket, for example by systemd socket activation (fd:3)',
    )
  }
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket()
  } catch {
    return false
  }
}

/** Resolves netdevs to interfaces; with --wait, it waits for those that the VM does not have yet. */
export async function openEnds(
  plan: RunPlan,
  around: Surroundings,
): Promise<{ options: EndOptions; names: Names }> {
  const input = await openInput(plan, around)
  const output = await openOutput(plan, around)
  return {
    options: { ...input.options, ...output.options },
    names: { input: input.name, output: output.name },
  }
}

interface Opened {
  readonly options: EndOptions
  readonly name: string
}

async function openInput({ input, wait }: RunPlan, around: Surroundings): Promise<Opened> {
  if (input.kind === 'stream') return { options: { indev: streamOptions(input) }, name: formatPeer(input) }
  if (input.kind === 'datagram') {
    return { options: { inDatagrams: datagramOptions(input) }, name: formatPeer(input) }
  }
  const netdev = await resolve(input, 'in_netdev', wait, around)
  const netns = netdev.netns === undefined ? {} : { inNetns: netdev.netns }
  return { options: { inNetdev: netdev.interface, ...netns }, name: netdevName(input.name, netdev) }
}

async function openOutput({ output, wait }: RunPlan, around: Surroundings): Promise<Opened> {
  if (output.kind === 'stream') {
    return { options: { outdev: streamOptions(output) }, name: formatPeer(output) }
  }
  if (output.kind === 'datagram') {
    return { options: { outDatagrams: datagramOptions(output) }, name: formatPeer(output) }
  }
  const netdev = await resolve(output, 'out_netdev', wait, around)
  const netns = netdev.netns === undefined ? {} : { outNetns: netdev.netns }
  return { options: { outNetdev: netdev.interface, ...netns }, name: netdevName(output.name, netdev) }
}

function streamOptions({ address, server, vnetHdrSupport, ...rest }: StreamPlan): StreamOptions {
  const { vnetHdrLength, tlsCreds } = rest
  const common = {
    server,
    vnetHdrSupport,
    ...(vnetHdrLength === undefined ? {} : { vnetHdrLength }),
    ...(tlsCreds === undefined ? {} : { tlsCreds }),
  }
  switch (address.kind) {
    case 'unix':
      return { unix: address.path, ...common }
    case 'tcp':
      return { tcp: { host: address.host, port: address.port }, ...common }
    case 'fd':
      return { fd: address.fd, ...common }
  }
}

function datagramOptions({ to, from }: DatagramPlan): DatagramOptions {
  if (to.kind === 'unix') return { unix: to.path }
  return { udp: { host: to.host, port: to.port }, ...(from === undefined ? {} : { from }) }
}

async function resolve(
  { name, netns }: NetdevEnd,
  role: NetdevRole,
  wait: boolean,
  { monitor, printer, signal }: Surroundings,
): Promise<ResolvedNetdev> {
  const surroundings = { monitor, netns: netns === undefined ? undefined : netnsPath(netns) }
  const onWaiting = (): void =>
    printer.notice(`waiting for ${role} '${name}': neither a netdev of the VM nor a host interface yet`)
  const netdev = await whenThere(() => resolveNetdev(name, role, surroundings), { wait, signal, onWaiting })
  if (netdev.assumed) printer.notice(`${role} '${name}' is taken for ${assumption(netdev)}`)
  return netdev
}

/** A redirector that did not start, with what only the plan can tell. */
export function explainStart(error: unknown, plan: RunPlan): TapferryError {
  const failure = TapferryError.from(error)
  const more = furtherHint(failure.code, plan)
  if (more === undefined) return failure
  const hint = `${failure.hint ?? ''}\n${more}`.trim()
  return new TapferryError(failure.code, failure.message, hint, { cause: error })
}

function furtherHint(code: string, { monitor, object }: RunPlan): string | undefined {
  // To the core, which knows no ids, a netdev id of QEMU is an unknown interface.
  if (monitor === undefined && ['NETDEV_NOT_FOUND', 'NETDEV_NAME_INVALID'].includes(code)) {
    return "If it is a netdev id of QEMU, add the VM's monitor: --qmp PATH"
  }
  if (object !== undefined && code === 'STREAM_IN_USE') {
    return 'If it is a QEMU with the same -chardev: of its two ends one is the server, so leave server=on out here'
  }
  return undefined
}
