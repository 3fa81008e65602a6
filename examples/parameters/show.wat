;; Prints its arguments, one to a line, and then its environment: the name of each variable, and how long its value is. It does not
;; print the values, since one of them is a password.
;;
;; The module inside dag.yaml is this text, assembled by `wat2wasm --debug-names show.wat` or the like. The names stay in:
;; Bacalhau's WASM engine does not load a module without them.

(module $show
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;;  0  number of texts              64  digits of a number, written backwards from here
  ;;  4  their size in bytes         128  ": " and, at 130, a line feed
  ;;  8  bytes written              1024  pointers to the texts
  ;; 16  address and 20 length     65536  the texts, each ended by a zero byte
  (memory (export "memory") 4)
  (data (i32.const 128) ": \n")

  (func $check (param $error i32)
    (if (local.get $error) (then (call $proc_exit (local.get $error)))))

  (func $print (param $text i32) (param $length i32)
    (i32.store (i32.const 16) (local.get $text))
    (i32.store (i32.const 20) (local.get $length))
    (call $check (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8))))

  ;; Counts the bytes from an address to the first of this kind, or to the zero byte at the end.
  (func $until (param $text i32) (param $byte i32) (result i32)
    (local $end i32)
    (local.set $end (local.get $text))
    (block $found
      (loop $next
        (br_if $found (i32.eqz (i32.load8_u (local.get $end))))
        (br_if $found (i32.eq (i32.load8_u (local.get $end)) (local.get $byte)))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $next)))
    (i32.sub (local.get $end) (local.get $text)))

  (func $print_number (param $number i32)
    (local $start i32)
    (local.set $start (i32.const 64))
    (loop $digit
      (local.set $start (i32.sub (local.get $start) (i32.const 1)))
      (i32.store8 (local.get $start)
        (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $digit (local.get $number)))
    (call $print (local.get $start) (i32.sub (i32.const 64) (local.get $start))))

  (func $show_argument (param $text i32)
    (call $print (local.get $text) (call $until (local.get $text) (i32.const 0)))
    (call $print (i32.const 130) (i32.const 1)))

  (func $show_variable (param $text i32)
    (local $name i32)
    (local.set $name (call $until (local.get $text) (i32.const 61)))        ;; up to the "="
    (call $print (local.get $text) (local.get $name))
    (call $print (i32.const 128) (i32.const 2))
    (call $print_number (call $until
      (i32.add (i32.add (local.get $text) (local.get $name)) (i32.const 1)) (i32.const 0)))
    (call $print (i32.const 130) (i32.const 1)))

  (func $text (param $index i32) (result i32)
    (i32.load (i32.add (i32.const 1024) (i32.mul (local.get $index) (i32.const 4)))))

  (func (export "_start")
    (local $index i32)
    (call $check (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (call $check (call $args_get (i32.const 1024) (i32.const 65536)))
    (local.set $index (i32.const 1))        ;; the first is the program's own name
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $index) (i32.load (i32.const 0))))
        (call $show_argument (call $text (local.get $index)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next)))
    (call $check (call $environ_sizes_get (i32.const 0) (i32.const 4)))
    (call $check (call $environ_get (i32.const 1024) (i32.const 65536)))
    (local.set $index (i32.const 0))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $index) (i32.load (i32.const 0))))
        (call $show_variable (call $text (local.get $index)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next)))
    (call $proc_exit (i32.const 0))))
