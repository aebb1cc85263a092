/**
 * The VM watch: a QMP monitor whose run state drives the gates. It never sits in the packet path.
 *
 *     address.ts    what people write -> where a monitor listens
 *     wire.ts       bytes -> JSON objects
 *     dial.ts       address -> connected socket
 *     client.ts     socket -> greeting, commands, events
 *     run-state.ts  answers and events -> running or not
 *     session.ts    one connection and the run state on it
 *     monitor.ts    session after session; what the rest of tapferry uses
 *     backoff.ts    the pauses between sessions
 *     failures.ts   what can go wrong, in words
 *     simulator.ts  a VM's monitor without a VM, for tests and the demo; never imported from here
 *
 * Arrows go one way, up this list from monitor.ts.
 */

export { formatMonitorAddress, type MonitorAddress, parseMonitorAddress } from './address.ts'
export { QmpError } from './failures.ts'
export { Monitor, type MonitorEvent, type MonitorOptions } from './monitor.ts'
