// Numbers of two doubles, about 31 digits: bounds cancel (1 - (1 - delta)^(1/N), alternating sums) and end in ceilings,
// so plain doubles would show other numbers than strongticket.bounds does. A number is [high, low], high + low.
"use strict";
const D = (() => {
  const SPLITTER = 134217729;
  const LN2 = [0.6931471805599453, 2.3190468138462996e-17];
  const ONE = [1, 0];
  const quick = (a, b) => {
    const s = a + b;
    return Number.isFinite(s) ? [s, b - (s - a)] : [s, 0];
  };
  const two = (a, b) => {
    const s = a + b;
    const v = s - a;
    return [s, (a - (s - v)) + (b - v)];
  };
  const product = (a, b) => {
    const p = a * b;
    const c = SPLITTER * a;
    const d = SPLITTER * b;
    const ah = c - (c - a);
    const bh = d - (d - b);
    const al = a - ah;
    const bl = b - bh;
    const e = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    return [p, Number.isFinite(e) ? e : 0];
  };
  const of = (x) => [x, 0];
  const num = (a) => a[0] + a[1];
  const neg = (a) => [-a[0], -a[1]];
  const plus = (a, b) => {
    if (!Number.isFinite(a[0] + b[0])) return [a[0] + b[0], 0];
    let [s, e] = two(a[0], b[0]);
    const [t, f] = two(a[1], b[1]);
    [s, e] = quick(s, e + t);
    return quick(s, e + f);
  };
  const minus = (a, b) => plus(a, neg(b));
  const times = (a, b) => {
    const [p, e] = product(a[0], b[0]);
    return Number.isFinite(p) ? quick(p, e + (a[0] * b[1] + a[1] * b[0])) : [p, 0];
  };
  const over = (a, b) => {
    const q = a[0] / b[0];
    if (!Number.isFinite(q) || !Number.isFinite(b[0])) return [q, 0];
    let r = minus(a, times(b, of(q)));
    const q2 = r[0] / b[0];
    r = minus(r, times(b, of(q2)));
    return plus(quick(q, q2), of(r[0] / b[0]));
  };
  const add = (...all) => all.reduce(plus);
  const mul = (...all) => all.reduce(times);
  const less = (a, b) => a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
  const equal = (a, b) => a[0] === b[0] && a[1] === b[1];
  const atMost = (a, b) => less(a, b) || equal(a, b);
  // a maximum or minimum with something that is no number is no number
  const pick = (all, better) =>
    all.some((a) => Number.isNaN(a[0])) ? [NaN, 0] : all.reduce((a, b) => (better(b, a) ? b : a));
  const max = (...all) => pick(all, (b, a) => less(a, b));
  const min = (...all) => pick(all, less);
  const abs = (a) => (a[0] < 0 ? neg(a) : a);
  const floor = (a) => {
    const high = Math.floor(a[0]);
    return high === a[0] ? quick(high, Math.floor(a[1])) : [high, 0];
  };
  const ceil = (a) => neg(floor(neg(a)));
  const sqrt = (a) => {
    if (!(a[0] > 0)) return [a[0] === 0 ? 0 : NaN, 0];
    const x = of(Math.sqrt(a[0]));
    return mul(plus(x, over(a, x)), [0.5, 0]);
  };
  const scale = (a, m) => {
    const half = Math.trunc(m / 2);
    const f = 2 ** half;
    const g = 2 ** (m - half);
    return [a[0] * f * g, a[1] * f * g];
  };
  const exp = (a) => {
    if (Number.isNaN(a[0])) return [NaN, 0];
    if (a[0] > 709.78) return [Infinity, 0];
    if (a[0] < -745.2) return [0, 0];
    const m = Math.floor(a[0] / LN2[0] + 0.5);
    const r = scale(minus(a, times(LN2, of(m))), -9);
    let term = r;
    let s = r;
    for (let i = 2; i <= 11; i += 1) {
      term = over(times(term, r), of(i));
      s = plus(s, term);
    }
    // e^(2r) - 1 = 2 s + s^2 keeps the digits that e^r itself would lose
    for (let i = 0; i < 9; i += 1) s = plus(scale(s, 1), times(s, s));
    return scale(plus(s, ONE), m);
  };
  const log = (a) => {
    if (!(a[0] > 0)) return [a[0] === 0 ? -Infinity : NaN, 0];
    if (a[0] === Infinity) return a;
    let x = of(Math.log(a[0]));
    for (let i = 0; i < 2; i += 1) x = plus(x, minus(times(a, exp(neg(x))), ONE));
    return x;
  };
  const whole = (a, n) => {
    let left = Math.abs(n);
    let base = n < 0 ? over(ONE, a) : a;
    let found = ONE;
    while (left > 0) {
      if (left % 2 === 1) found = times(found, base);
      left = Math.floor(left / 2);
      if (left > 0) base = times(base, base);
    }
    return found;
  };
  const pow = (a, b) => {
    if (b[1] === 0 && Number.isInteger(b[0]) && Math.abs(b[0]) < 4294967296) return whole(a, b[0]);
    if (a[0] === 0) return [b[0] > 0 ? 0 : NaN, 0];
    return a[0] > 0 ? exp(times(b, log(a))) : [NaN, 0];
  };
  const tanh = (a) => {
    if (Math.abs(a[0]) > 40) return [Math.sign(a[0]), 0];
    const e = exp(scale(a, 1));
    return over(minus(e, ONE), plus(e, ONE));
  };
  const cosh = (a) => scale(plus(exp(a), exp(neg(a))), -1);
  const factorial = (a) => {
    let found = ONE;
    for (let i = 2; i <= a[0]; i += 1) found = times(found, of(i));
    return a[0] >= 0 && Number.isInteger(a[0]) ? found : [NaN, 0];
  };
  const laguerre = (n, x) => {
    let before = ONE;
    let now = minus(ONE, x);
    if (n[0] === 0) return before;
    for (let k = 1; k < n[0]; k += 1) {
      const next = over(minus(times(minus(of(2 * k + 1), x), now), times(of(k), before)), of(k + 1));
      before = now;
      now = next;
    }
    return now;
  };
  const sum = (from, to, term) => {
    let found = [0, 0];
    for (let j = from[0]; j <= to[0]; j += 1) found = plus(found, term(of(j)));
    return found;
  };
  return { of, num, add, mul, over, neg, pow, sqrt, exp, log, tanh, cosh, abs, max, min, floor, ceil, factorial,
    laguerre, sum, less, atMost, equal };
})();
