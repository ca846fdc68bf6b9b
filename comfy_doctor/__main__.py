"""`python -m comfy_doctor`"""

from comfy_doctor.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
